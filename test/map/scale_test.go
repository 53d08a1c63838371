// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// crowd is 150 workloads, each with a service, in ten namespaces: 300 nodes. 850 calls make 1,000 links, as each service
// has one to its workload.
func crowd() []call {
	const workloads = 150
	var all []call
	space := func(i int) string { return fmt.Sprint("team-", i%10) }
	for i := range 850 {
		from, to := i%workloads, (i*7+i/workloads*31+1)%workloads
		if from == to {
			to = (to + 1) % workloads
		}
		name := fmt.Sprint("svc-", to)
		all = append(all, call{fmt.Sprint("svc-", from), space(from), name, space(to), name, int64(100 * (1 + i%50)), int64(1000 * (1 + i%90)), 0})
	}
	return all
}

// TestThreeHundredNodesAreFluent pans and zooms over 300 nodes and 1,000 links while all of them change.
func TestThreeHundredNodesAreFluent(t *testing.T) {
	c := startCollector(t, "gateway.yaml")
	(&agents{t: t, url: c.otlp}).run(crowd())
	b := open(t, c.url)
	requireNodes(t, b, 300)
	links := evaluate[int](b, "kmeshMap.graph.core.edges().length")
	assert.InDelta(t, 1000, links, 60)
	b.eventually("kmeshMap.graph.core.nodes('[size]').every((n) => Number.isFinite(n.position().x))", "the layout")
	evaluate[bool](b, "new Promise((done) => setTimeout(() => done(true), 5000))") // the young map is arranged
	picture(b, "test-crowd.png")
	fps := evaluate[map[string]float64](b, `(async () => {
		const cy = kmeshMap.graph.core, result = {};
		const frames = (move) => new Promise((done) => {
			const begin = performance.now();
			let count = 0;
			const frame = () => {
				count++;
				move(count);
				const passed = performance.now() - begin;
				if (passed < 3000) requestAnimationFrame(frame);
				else done(count * 1000 / passed);
			};
			requestAnimationFrame(frame);
		});
		result.pan = await frames((i) => cy.panBy({ x: i % 40 < 20 ? 8 : -8, y: i % 20 < 10 ? 4 : -4 }));
		result.zoom = await frames((i) => cy.zoom({ level: cy.zoom() * (i % 40 < 20 ? 1.02 : 1 / 1.02), renderedPosition: { x: 600, y: 350 } }));
		return result;
	})()`)
	t.Logf("%d nodes, %d links: %.0f frames per second while panning, %.0f while zooming", 300, links, fps["pan"], fps["zoom"])
	assert.Greater(t, fps["pan"], 15.0)
	assert.Greater(t, fps["zoom"], 15.0)
	b.requireClean()
}
