// SPDX-License-Identifier: Apache-2.0

//go:build e2e && soak

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSoak makes rounds of traffic for as long as KMESH_SOAK says (`make soak`). In each, hosts come, listen, connect,
// are refused, keep connections open over the whole round, and go. After each, all sums must be equal; at the end the
// collector must not have grown over what it was after the first fifth, and it must end in time.
//
// All the while an unprivileged process attacks, and the backends refuse in turns.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("KMESH_SOAK"))
	require.NoError(t, err, "KMESH_SOAK is how long, e.g. 30m")
	p, l := startPrometheus(t), startLoki(t)
	metrics, metricsRefused := moody(t, p.url, 7*time.Second)
	logs, logsRefused := moody(t, l.url, 10*time.Second)
	s := &stack{prometheus: p, loki: l, collector: startCollector(t, p, l, "E2E_PROMETHEUS="+metrics, "E2E_LOKI="+logs)}
	startAdversary(t)
	counted := &tally{}
	began := time.Now()
	var early, last usage
	rounds := 0
	for ; time.Since(began) < length && !t.Failed(); rounds++ {
		t.Run(fmt.Sprintf("round %d", rounds+1), func(t *testing.T) { soakRound(t, rounds, counted) })
		eventually(t, func(c *assert.CollectT) { compare(c, s, counted) })
		last = measure(t, s.collector)
		if time.Since(began) < length/5 {
			early = early.max(last)
		}
		t.Logf("%s: %d connections; %+v", time.Since(began).Round(time.Second), counted.client.connections.Load(), last)
	}
	require.False(t, t.Failed())
	assert.LessOrEqual(t, last.residentKiB, early.residentKiB*5/4, "resident memory")
	assert.LessOrEqual(t, last.goroutines, early.goroutines+5, "goroutines")
	assert.LessOrEqual(t, last.files, early.files+5, "open files")
	assert.LessOrEqual(t, last.series, early.series, "series")
	assert.LessOrEqual(t, last.tracked, early.tracked+5, "connections that the kernel follows")
	t.Logf("%d rounds in %s: after the first fifth at most %+v, at the end %+v", rounds, time.Since(began).Round(time.Second), early, last)
	require.Positive(t, metricsRefused.Load())
	require.Positive(t, logsRefused.Load())
	eventually(t, func(c *assert.CollectT) { compare(c, s, counted) })
	stopping := time.Now()
	s.collector.stop()
	assert.Less(t, time.Since(stopping), 10*time.Second, "the collector's end")
	compare(t, s, counted)
	printSums(t, s, counted)
}

// soakRound makes a network of its own, and its traffic; all of it is gone when the subtest ends.
func soakRound(t *testing.T, round int, counted *tally) {
	const connections, atOnce, open = 1000, 16, 20
	client, targets := loadHostsFor(t, counted)
	var lastings []*lasting
	for i := range open {
		l := lastingConnection(t, client, targets[i%len(targets)], counted)
		l.send(int64(i * 100))
		lastings = append(lastings, l)
	}
	jobs := make(chan job)
	go func() {
		defer close(jobs)
		for i := range connections {
			jobs <- job{address: targets[i%len(targets)], size: mixedSize(uint64(round*connections + i))}
		}
	}()
	drive(t, client, atOnce, jobs, mixedAnswer, &counted.client)
	for i := range 50 {
		_, err := dial(client, fmt.Sprintf("10.244.7.11:%d", 1000+i))
		require.Error(t, err, "nobody listens there")
	}
	for _, l := range lastings {
		l.send(100)
		l.close()
	}
}

// usage is what a process holds.
type usage struct{ residentKiB, goroutines, files, series, tracked int64 }

func (u usage) max(v usage) usage {
	return usage{
		max(u.residentKiB, v.residentKiB), max(u.goroutines, v.goroutines), max(u.files, v.files),
		max(u.series, v.series), max(u.tracked, v.tracked),
	}
}

func measure(t *testing.T, c *collector) usage {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d", c.cmd.Process.Pid)
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	require.NoError(t, err)
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	require.NoError(t, err)
	goroutines, err := get(c.pprof + "/debug/pprof/goroutine?debug=1")
	require.NoError(t, err)
	own := c.ownMetrics()
	return usage{
		residentKiB: number(t, `VmRSS:\s+(\d+) kB`, string(status)),
		goroutines:  number(t, `total (\d+)`, string(goroutines)),
		files:       int64(len(files)),
		series:      number(t, `otelcol_kmesh_series\{[^}]*set="workload"[^}]*\} (\d+)`, own),
		tracked:     number(t, `otelcol_kmesh_connections_tracked(?:\{[^}]*\})? (\d+)`, own),
	}
}

// number gives the first match of the expression's group.
func number(t *testing.T, expression, text string) int64 {
	t.Helper()
	match := regexp.MustCompile(expression).FindStringSubmatch(text)
	require.NotNil(t, match, "no %s in:\n%s", expression, text)
	n, err := strconv.ParseInt(match[1], 10, 64)
	require.NoError(t, err)
	return n
}
