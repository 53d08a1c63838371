// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const hostileName = "<img src=x onerror=alert(1)>"

// TestTheMapOfANode goes through what a viewer does, while the applications of a shop talk and one destination fails.
func TestTheMapOfANode(t *testing.T) {
	c := startCollector(t, "node.yaml")
	b := open(t, c.url)
	b.eventually("!document.querySelector('#empty').hidden", "the empty state, before the first connection")
	picture(b, "test-empty.png")
	counts := startShop(t, "hostile")
	begin := time.Now()
	b.eventually("kmeshMap.store.links.size > 0", "the first edge")
	t.Logf("the first edge is drawn %v after the first connection", time.Since(begin).Round(100*time.Millisecond))
	assert.Less(t, time.Since(begin), 10*time.Second)
	b.eventually(fmt.Sprintf("kmeshMap.store.nodes.size === %d", len(addresses)+9), "all nodes")

	rates(t, b, counts)
	failures(t, b)
	picture(b, "test-map.png")
	names(t, b)
	selection(t, b)
	filters(t, b)
	themes(t, b)
	tables(t, b)
	keyboard(t, b)
	b.requireClean()

	restart(t, b, c)
}

// picture keeps what the page looks like now, where KMESH_MAP_PICTURES says.
func picture(b *browser, name string) {
	b.t.Helper()
	if folder := os.Getenv("KMESH_MAP_PICTURES"); folder != "" {
		evaluate[bool](b, "new Promise((done) => setTimeout(() => done(true), 900))") // animations end
		b.screenshot(filepath.Join(folder, name))
	}
}

// rates compares what the page shows over ten seconds with what the applications counted meanwhile.
func rates(t *testing.T, b *browser, counts map[string]*counted) {
	t.Helper()
	edges := map[string][2]string{
		"gateway>frontend": {"gateway", "frontend"}, "catalog>postgres": {"catalog", "postgres"}, "cart>redis": {"cart", "redis"}, "ledger>postgres": {"ledger", "postgres"},
	}
	// The page's own average: it samples as the events come, for ten seconds, after two intervals of steady traffic.
	evaluate[bool](b, "new Promise((done) => setTimeout(() => done(true), 4000))")
	before := make(map[string][3]int64)
	for name := range edges {
		c := counts[name]
		before[name] = [3]int64{c.sent.Load(), c.received.Load(), c.opened.Load()}
	}
	ends, err := json.Marshal(edges)
	require.NoError(t, err)
	begin := time.Now()
	shown := evaluate[map[string][3]float64](b, `new Promise((done) => {
		const edges = `+string(ends)+`, sums = {};
		let samples = 0;
		const timer = setInterval(() => {
			samples++;
			for (const [name, [from, to]] of Object.entries(edges)) {
				const found = [...kmeshMap.store.links.values()].filter((l) => l.kind === "call" && l.source.title === from && l.target.title === to);
				const sum = (sums[name] ??= [0, 0, 0]);
				for (const l of found) { sum[0] += l.sent; sum[1] += l.received; sum[2] += l.opened; }
			}
			if (samples === 40) {
				clearInterval(timer);
				for (const sum of Object.values(sums)) sum.forEach((value, i) => { sum[i] = value / samples; });
				done(sums);
			}
		}, 250);
	})`)
	seconds := time.Since(begin).Seconds()
	for name := range edges {
		c := counts[name]
		for i, now := range [3]int64{c.sent.Load(), c.received.Load(), c.opened.Load()} {
			want := float64(now-before[name][i]) / seconds
			assert.InEpsilon(t, want, shown[name][i], 0.1, "%s, %s", name, [3]string{"sent", "received", "opened"}[i])
		}
		t.Logf("%s: shown %.0f B/s sent, %.0f B/s received, %.1f/s opened; counted %.0f, %.0f, %.1f", name, shown[name][0], shown[name][1], shown[name][2],
			float64(c.sent.Load()-before[name][0])/seconds, float64(c.received.Load()-before[name][1])/seconds, float64(c.opened.Load()-before[name][2])/seconds)
	}
}

// failures looks at the destination that refuses.
func failures(t *testing.T, b *browser) {
	t.Helper()
	b.eventually("[...kmeshMap.store.links.values()].some((l) => l.share > 0 && l.source.title === 'checkout' && l.target.title === 'payments' && l.reason === 'connection_refused')", "the failing edge and its reason")
	share := evaluate[float64](b, "Math.max(..."+linkScript("checkout", "payments", "pair")+".map((l) => l.share))")
	assert.InDelta(t, 4.0/9, share, 0.15, "4 of 9 connects a second fail")
	assert.Equal(t, 1, evaluate[int](b, linkScript("checkout", "payments", "pair")+".length"))
	// Others do not fail.
	assert.Equal(t, 0, evaluate[int](b, "[...kmeshMap.store.links.values()].filter((l) => l.share > 0 && l.target.title !== 'payments').length"))
}

// names checks that a hostile name is text wherever it is.
func names(t *testing.T, b *browser) {
	t.Helper()
	hostile := key("workload", "Kubernetes", "hostile", hostileName)
	choose(b, hostile)
	b.eventually("document.querySelector('#panel h2')?.textContent === "+quote(hostileName), "the name as text")
	assert.Zero(t, evaluate[int](b, "document.querySelectorAll('#panel img, table img, #namespaces img').length"))
	b.press("t")
	b.eventually("[...document.querySelectorAll('td')].some((cell) => cell.textContent === "+quote(hostileName)+")", "the name in the table")
	assert.Zero(t, evaluate[int](b, "document.querySelectorAll('td img').length"))
	b.press("g")
	choose(b, "")
}

// choose opens the details of a node by the page's address.
func choose(b *browser, key string) {
	b.t.Helper()
	evaluate[any](b, "{ location.hash = 'select=' + encodeURIComponent("+quote(key)+"); }")
}

// selection clicks on nodes and edges where they are drawn.
func selection(t *testing.T, b *browser) {
	t.Helper()
	payments := key("workload", "Kubernetes", "billing", "payments")
	// A node that is still on its way is not where it was.
	require.Eventually(t, func() bool {
		return evaluate[bool](b, `(async () => {
			const node = kmeshMap.graph.core.getElementById(`+quote(payments)+`), before = { ...node.renderedPosition() };
			await new Promise((done) => setTimeout(done, 300));
			const now = node.renderedPosition();
			return Math.hypot(now.x - before.x, now.y - before.y) < 1;
		})()`)
	}, patience, 10*time.Millisecond, "the node is still")
	position := evaluate[struct{ X, Y float64 }](b, `(() => {
		const at = kmeshMap.graph.core.getElementById(`+quote(payments)+`).renderedPosition(), box = document.querySelector("#graph").getBoundingClientRect();
		return { x: at.x + box.x, y: at.y + box.y };
	})()`)
	b.do("point", map[string]any{"x": position.X, "y": position.Y})
	b.eventually("document.querySelector('#panel h2')?.textContent === 'payments'", "the node's details")
	b.eventually("document.querySelectorAll('#panel canvas').length >= 2", "its charts")
	b.eventually("[...document.querySelectorAll('.records .event')].some((e) => e.textContent === 'connection refused')", "a failed record with its reason")
	b.eventually("document.querySelector('.reason')?.textContent.includes('connection refused')", "the reason")
	assert.Contains(t, evaluate[string](b, "document.querySelector('.records').textContent"), "checkout-6d5f7c9b8")
	assert.Contains(t, evaluate[string](b, "decodeURIComponent(location.hash)"), "payments", "the address leads here")
	picture(b, "test-map-panel.png")
	// An address that somebody was sent opens the same view.
	b.do("open", map[string]any{"url": "about:blank"})
	b.open("/#select=" + evaluate[string](b, "encodeURIComponent("+quote(payments)+")"))
	b.eventually("document.querySelector('#panel h2')?.textContent === 'payments'", "the same view")
	b.press("Escape")
	b.eventually("document.querySelector('#panel').hidden", "no details")
}

// filters searches, filters by namespace, hides services and freezes.
func filters(t *testing.T, b *browser) {
	t.Helper()
	b.press("/")
	assert.Equal(t, "search", evaluate[string](b, "document.activeElement.id"))
	b.do("fill", map[string]any{"selector": "#search", "text": "postgr"})
	b.eventually("kmeshMap.graph.core.nodes().filter((n) => n.data('size') && !n.hasClass('dim')).length === 2", "the service and the workload")
	b.do("fill", map[string]any{"selector": "#search", "text": ""})
	b.press("Escape")

	b.click("#namespaces summary")
	b.click("#namespace-list label:has-text('billing')")
	b.eventually("[...kmeshMap.graph.core.edges()].every((e) => e.data('source').includes('billing') || e.data('target').includes('billing'))", "links of the namespace")
	assert.Contains(t, evaluate[string](b, "decodeURIComponent(location.hash)"), "billing")
	b.click("#namespaces-all")

	nodes := evaluate[int](b, "kmeshMap.graph.core.nodes('[size]').length")
	b.click("#services")
	b.eventually(fmt.Sprintf("kmeshMap.graph.core.nodes('[size]').length === %d", nodes-9), "workloads only")
	b.click("#services")
	b.eventually(fmt.Sprintf("kmeshMap.graph.core.nodes('[size]').length === %d", nodes), "services again")

	b.click("#freeze")
	b.eventually("document.querySelector('#state').dataset.state === 'frozen'", "frozen")
	still := "JSON.stringify(kmeshMap.graph.core.edges().map((e) => e.data('label') + e.data('width')))"
	at := evaluate[float64](b, "kmeshMap.store.at")
	drawn := evaluate[string](b, still)
	b.eventually(fmt.Sprintf("kmeshMap.store.at >= %f", at+3000), "events of three seconds")
	assert.Equal(t, drawn, evaluate[string](b, still))
	b.click("#freeze")

	// What is drawn keeps its place while data changes.
	places := "JSON.stringify(kmeshMap.graph.core.nodes('[size]').map((n) => [n.id(), Math.round(n.position().x), Math.round(n.position().y)]))"
	where := evaluate[string](b, places)
	at = evaluate[float64](b, "kmeshMap.store.at")
	b.eventually(fmt.Sprintf("kmeshMap.store.at >= %f", at+3000), "events of three seconds")
	assert.Equal(t, where, evaluate[string](b, places))
}

func themes(t *testing.T, b *browser) {
	t.Helper()
	background := "getComputedStyle(document.body).backgroundColor"
	light := evaluate[string](b, background)
	b.do("scheme", map[string]any{"value": "dark"})
	b.eventually("document.documentElement.dataset.theme === 'dark'", "dark, as the system says")
	assert.NotEqual(t, light, evaluate[string](b, background))
	picture(b, "test-map-dark.png")
	b.click("#theme")
	b.eventually("document.documentElement.dataset.theme === 'light'", "light, as the viewer says")
	b.click("#theme")
	b.click("#theme")
	b.do("scheme", map[string]any{"value": "light"})
	b.eventually("document.documentElement.dataset.theme === 'light'", "as the system says")
}

func tables(t *testing.T, b *browser) {
	t.Helper()
	b.click("#view-table")
	b.eventually("document.querySelectorAll('tbody tr').length === kmeshMap.graph.core.edges().length && document.querySelectorAll('tbody tr').length > 20", "a row for each link")
	b.click("th:has-text('Received') button")
	assert.Equal(t, "descending", evaluate[string](b, "document.querySelector('th[aria-sort]').getAttribute('aria-sort')"))
	assert.Contains(t, evaluate[string](b, "document.querySelector('tbody tr').textContent"), "postgres")
	b.click("th:has-text('From') button")
	b.eventually("(() => { const names = [...document.querySelectorAll('tbody tr td:first-child')].map((c) => c.textContent); return names.join() === names.toSorted((a, b) => a.localeCompare(b, undefined, { numeric: true })).join(); })()", "sorted by name")
	picture(b, "test-map-table.png")
	b.click("#copy")
	b.eventually("navigator.clipboard.readText().then((text) => text.split('\\n').length > 20 && text.startsWith('From\\tNamespace\\tTo'))", "the table as text")
	tree := string(b.do("tree", nil))
	for _, part := range []string{"table", "columnheader", "Search nodes", "Freeze", "checkout", "region"} {
		assert.Contains(t, tree, part, "what a screen reader is given")
	}
	b.click("#view-graph")
}

// keyboard uses the graph without a pointer.
func keyboard(t *testing.T, b *browser) {
	t.Helper()
	b.do("focus", map[string]any{"selector": "#graph"})
	b.press("ArrowRight")
	first := evaluate[string](b, "kmeshMap.graph.focus")
	require.NotEmpty(t, first)
	assert.Regexp(t, `links in, \d+ out`, evaluate[string](b, "document.querySelector('#focus').textContent"))
	for range 3 {
		b.press("ArrowRight")
	}
	assert.NotEqual(t, first, evaluate[string](b, "kmeshMap.graph.focus"))
	b.press("Enter")
	b.eventually("!document.querySelector('#panel').hidden", "details")
	zoom := evaluate[float64](b, "kmeshMap.graph.core.zoom()")
	b.press("+")
	assert.Greater(t, evaluate[float64](b, "kmeshMap.graph.core.zoom()"), zoom)
	b.press("0")
	b.press("Escape")
	b.eventually("document.querySelector('#panel').hidden", "no details")
	b.press("t")
	b.eventually("!document.querySelector('#table-view').hidden", "the table")
	b.press("g")
	// Every control is reached by Tab, and shows that it has the focus.
	evaluate[any](b, "{ document.activeElement.blur(); }")
	reached := map[string]bool{}
	for range 24 {
		b.press("Tab")
		reached[evaluate[string](b, "document.activeElement.id || document.activeElement.tagName")] = true
	}
	for _, id := range []string{"skip", "search", "services", "freeze", "view-graph", "view-table", "theme", "graph", "fit", "arrange"} {
		assert.True(t, reached[id], id)
	}
}

// restart ends the collector under the page, and starts it again.
func restart(t *testing.T, b *browser, c *collector) {
	t.Helper()
	places := "Object.fromEntries(kmeshMap.graph.core.nodes('[size]').map((n) => [n.id(), Math.round(n.position().x) + ' ' + Math.round(n.position().y)]))"
	where := evaluate[map[string]string](b, places)
	c.stop()
	b.eventually("document.querySelector('#state').dataset.state === 'lost'", "the page says that it has no connection")
	c.start()
	b.eventually(fmt.Sprintf("document.querySelector('#state').dataset.state === 'live' && kmeshMap.graph.core.nodes('[size]').length === %d", len(where)), "the same graph again")
	now := evaluate[map[string]string](b, places)
	assert.Equal(t, where, now, "everything is where it was")
}
