// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// TestOutage kills Prometheus and Loki for 20 s while connections go on at a steady rate: afterwards the counters are
// what the applications counted, and every line of the access log is there, once.
func TestOutage(t *testing.T) {
	const (
		outage = 20 * time.Second
		pace   = 5 * time.Millisecond // between connections
		atOnce = 8
	)
	client, targets, counted := loadHosts(t)
	s := startStack(t)

	load := startLoad(t, client, targets, pace, atOnce, counted)

	arrives(t, s, counted, 200)
	before := counted.client.connections.Load()
	s.prometheus.kill()
	s.loki.kill()
	<-time.After(outage) // what is tested: how long they are gone
	missed := counted.client.connections.Load() - before
	require.Greater(t, missed, int64(outage/pace/4), "connections during the outage")
	s.prometheus.launch()
	s.loki.launch()
	back := counted.client.connections.Load()
	arrives(t, s, counted, back)
	load.end()

	t.Logf("%d connections, %d of them while both servers were gone", counted.client.connections.Load(), missed)
	requireEqualSums(t, s, counted)
	requireEachLineOnce(t, s.loki, counted)
}

// load is a steady rate of connections.
type load struct {
	once sync.Once
	stop chan struct{}
	done chan struct{}
}

// startLoad makes a connection every pace, so many at once at most, until its end or the test's.
func startLoad(t testing.TB, from *testhost.Host, targets []string, pace time.Duration, atOnce int, counted *tally) *load {
	l := &load{stop: make(chan struct{}), done: make(chan struct{})}
	jobs := make(chan job)
	go func() {
		defer close(jobs)
		ticker := time.NewTicker(pace)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			case <-ticker.C:
				jobs <- job{address: targets[i%len(targets)], size: mixedSize(uint64(i))}
			}
		}
	}()
	go func() {
		defer close(l.done)
		drive(t, from, atOnce, jobs, mixedAnswer, &counted.client)
	}()
	// Also when an assertion ends the test: the servers and hosts go after it.
	t.Cleanup(l.end)
	return l
}

// end stops the load and waits for its last connection. It is safe to call again.
func (l *load) end() {
	l.once.Do(func() { close(l.stop) })
	<-l.done
}

// arrives waits until both servers know of more closed connections than n.
func arrives(t testing.TB, s *stack, counted *tally, n int64) {
	t.Helper()
	eventually(t, func(c *assert.CollectT) {
		metrics, err := s.prometheus.sums("workload_")
		require.NoError(c, err)
		lines, err := s.loki.counted()
		require.NoError(c, err)
		for _, reporter := range reporters {
			assert.Greater(c, metrics[reporter].closed, n, "Prometheus, of %d", counted.client.connections.Load())
			assert.Greater(c, lines[reporter].closed, n, "Loki, of %d", counted.client.connections.Load())
		}
	})
}

// requireEachLineOnce compares the number of lines, and of the connection ends that they are about, with the number
// of connections: a line that came twice would count in both sums of a stack that loses another one.
func requireEachLineOnce(t testing.TB, l *loki, counted *tally) {
	t.Helper()
	lines, err := l.lines(`{service_name="kmesh"} | src_namespace="load"`)
	require.NoError(t, err)
	ends := map[[2]string]int{}
	for _, line := range lines {
		require.NotEmpty(t, line.labels["connection_id"])
		ends[[2]string{line.labels["direction"], line.labels["connection_id"]}]++
	}
	want := 2 * int(counted.client.connections.Load())
	require.Len(t, lines, want, "lines")
	require.Len(t, ends, want, "connection ends with a line")
	t.Logf("Loki: %d lines of %d connection ends", len(lines), len(ends))
}
