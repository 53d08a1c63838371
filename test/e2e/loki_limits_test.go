// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLokiTakesEveryRecord writes the access log of 2,000 connections to a Loki with the limits that it has by default:
// the size and number of a record's attributes, and the rate.
func TestLokiTakesEveryRecord(t *testing.T) {
	testLokiTakesEveryRecord(t)
}

// TestLokiTakesEveryRecordWithoutABody is the same with nothing in the lines but their attributes, so that a log view shows
// each field once. Lines that are equal must not pass for one.
func TestLokiTakesEveryRecordWithoutABody(t *testing.T) {
	l := testLokiTakesEveryRecord(t, "E2E_BODY=false")
	lines, err := l.lines(`{service_name="kmesh"} | src_namespace="load"`)
	require.NoError(t, err)
	seen := make(map[string]bool, len(lines))
	for _, line := range lines {
		require.Empty(t, line.body)
		end := line.labels["connection_id"]
		require.NotEmpty(t, end)
		require.False(t, seen[end], "twice: %v", line.labels)
		seen[end] = true
	}
	for _, path := range documents(t) {
		for _, q := range documentQueries(t, path) {
			if q.logQL {
				t.Run(q.from+" "+q.expression, func(t *testing.T) { runLogQL(t, l, q) })
			}
		}
	}
}

func testLokiTakesEveryRecord(t *testing.T, env ...string) *loki {
	t.Helper()
	const connections, atOnce = 2000, 16
	client, targets, counted := loadHosts(t)
	p, l := startPrometheus(t), startLokiWith(t, "loki-defaults.yaml", 5000)
	startCollector(t, p, l, env...)
	jobs := make(chan job)
	go func() {
		defer close(jobs)
		for i := range connections {
			jobs <- job{address: targets[i%len(targets)], size: mixedSize(uint64(i))}
		}
	}()
	drive(t, client, atOnce, jobs, mixedAnswer, &counted.client)

	eventually(t, func(c *assert.CollectT) {
		got, err := l.counted()
		require.NoError(c, err)
		require.Equal(c, map[string]sums{"source": of(&counted.client), "destination": of(&counted.server)}, got)
	})
	body, err := get(l.url + "/metrics")
	require.NoError(t, err)
	require.NotContains(t, string(body), "loki_discarded_samples_total{", "nothing was discarded")
	return l
}
