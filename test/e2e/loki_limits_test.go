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
	const connections, atOnce = 2000, 16
	client, targets, counted := loadHosts(t)
	p, l := startPrometheus(t), startLokiWith(t, "loki-defaults.yaml")
	startCollector(t, p, l)
	jobs := make(chan job)
	go func() {
		defer close(jobs)
		for i := range connections {
			jobs <- job{address: targets[i%len(targets)], size: 1 + int64(i)}
		}
	}()
	drive(t, client, atOnce, jobs, func(size int64) int64 { return size }, &counted.client)

	eventually(t, func(c *assert.CollectT) {
		got, err := l.counted()
		require.NoError(c, err)
		require.Equal(c, map[string]sums{"source": of(&counted.client), "destination": of(&counted.server)}, got)
	})
	body, err := get(l.url + "/metrics")
	require.NoError(t, err)
	require.NotContains(t, string(body), "loki_discarded_samples_total{", "nothing was discarded")
}
