// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// inKernel starts an agent with the real programs, which knows the two hosts of the test and reports no other. It
// closes the programs when it stops, as the end of the collector's process does. The first collection is over.
func inKernel(t *testing.T, change func(*configured), adjust func(*probe.Options)) (*Agent, *consumertest.MetricsSink) {
	t.Helper()
	return inKernelOf(t, change, func(o probe.Options) (Probe, error) {
		if adjust != nil {
			adjust(&o)
		}
		p, err := probe.Open(o)
		return thorough{p}, err
	})
}

// inKernelOf is inKernel with a probe of the test's own.
func inKernelOf(t *testing.T, change func(*configured), open func(probe.Options) (Probe, error)) (*Agent, *consumertest.MetricsSink) {
	t.Helper()
	identities := filepath.Join(t.TempDir(), "identity.yaml")
	require.NoError(t, os.WriteFile(identities, []byte(`workloads:
  - {uid: a, name: client-0, namespace: test, addresses: [10.244.0.10], workload_name: client}
  - {uid: b, name: server-0, namespace: test, addresses: [10.244.0.11], workload_name: server}
`), 0o600))
	sink := new(consumertest.MetricsSink)
	settings, _ := newSettings(sink, nil)
	settings.Identity.Source, settings.Scope = &file.Config{Path: identities}, ScopeKnown
	settings.series.Enabled = metricsOf(series.Latency)
	settings.series.Attributes = map[series.Set][]string{series.Latency: {"reporter", "source_workload", "destination_workload"}}
	if change != nil {
		change(settings)
	}
	a, err := New(settings.complete(), WithHandover(nil), WithConntrack(noConntrack), WithProbe(open))
	require.NoError(t, err)
	a.Start()
	require.Eventually(t, func() bool { return len(a.Observation().Probe.Maps) > 0 }, time.Minute, time.Millisecond, "the first collection")
	return a, sink
}

// thorough looks at each sweep for ends that the kernel hid, and not at each sixteenth.
type thorough struct{ Probe }

func (p thorough) Sweep(all bool, handle func(*probe.Record)) (err error) {
	for range 16 {
		err = errors.Join(err, p.Probe.Sweep(all, handle))
		all = false
	}
	return err
}

// each hands over a metric of every batch, the oldest first, and what says whose reporter a point from client to server has.
func each(sink *consumertest.MetricsSink, name string, take func(pmetric.Metric, func(pcommon.Map) (string, bool))) {
	reporter := func(labels pcommon.Map) (string, bool) {
		source, _ := labels.Get("source_workload")
		destination, _ := labels.Get("destination_workload")
		by, _ := labels.Get("reporter")
		return by.Str(), source.Str() == "client" && destination.Str() == "server"
	}
	for _, batch := range sink.AllMetrics() {
		for _, resource := range batch.ResourceMetrics().All() {
			for _, scope := range resource.ScopeMetrics().All() {
				for _, m := range scope.Metrics().All() {
					if m.Name() == name {
						take(m, reporter)
					}
				}
			}
		}
	}
}

// activeNow returns kmesh.tcp.connections.active by reporter.
func activeNow(sink *consumertest.MetricsSink) map[string]int64 {
	now := map[string]int64{}
	each(sink, "kmesh.tcp.connections.active", func(m pmetric.Metric, reporter func(pcommon.Map) (string, bool)) {
		for _, p := range m.Sum().DataPoints().All() {
			if by, is := reporter(p.Attributes()); is {
				now[by] = p.IntValue()
			}
		}
	})
	return now
}

func TestActiveConnectionsAreExactInTheKernel(t *testing.T) {
	const many, port = 10_000, "10.244.0.11:80"
	network := testhost.NewNetwork(t)
	client, server := network.Host("client", "10.244.0.10/24"), network.Host("server", "10.244.0.11/24")
	server.Keep(port)
	held := client.Hold(port)

	often := func(s *configured) {
		s.series.Enabled = map[string]bool{"kmesh.tcp.connections.active": true}
		s.CollectionInterval, s.Identity.Settle = 200*time.Millisecond, 200*time.Millisecond
	}
	a, sink := inKernel(t, often, nil)
	stop := func() {
		t.Helper()
		require.NoError(t, a.Stop(t.Context()))
	}
	are := func(what string, n int64) {
		t.Helper()
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			now := activeNow(sink)
			for _, reporter := range []string{"source", "destination"} {
				assert.Equal(c, n, now[reporter], "%s: %s", what, reporter) // those too whose end the kernel hid: see recount
			}
		}, time.Minute, 20*time.Millisecond)
		t.Logf("%s: %v of %d, %d hidden", what, activeNow(sink), n, a.Observation().Probe.Tally.Vanished)
	}
	held.Open(many)
	are("opened", many)
	held.Close(1000)
	are("closed", many-1000)

	stop()
	held.Close(500)
	held.Open(300)
	a, sink = inKernel(t, often, nil)
	are("after a restart", many-1200)
	held.Close(200)
	held.Open(100)
	are("changed after a restart", many-1300)
	stop()

	a, sink = inKernel(t, often, func(o *probe.Options) { o.EndsBytes = uint32(os.Getpagesize()) })
	are("after another restart", many-1300)
	held.Close(4000)
	held.Open(1000)
	are("after an overflow", many-4300)
	require.Positive(t, a.Observation().Probe.Tally.Lost, "the ring was full")
	stop()
}

// hiding is a probe of a kernel that shows no program the end of some sockets.
type hiding struct {
	Probe
	hide   atomic.Int64 // closes of clients that are still to be hidden
	hidden atomic.Uint64
}

func (p *hiding) filter(handle func(*probe.Record)) func(*probe.Record) {
	return func(r *probe.Record) {
		if r.Kind == probe.KindClosed && r.Direction == probe.Outbound && p.hide.Load() > 0 {
			p.hide.Add(-1)
			p.hidden.Add(1)
			return
		}
		handle(r)
	}
}

func (p *hiding) Read(until time.Time, handle func(*probe.Record)) error {
	return p.Probe.Read(until, p.filter(handle))
}

func (p *hiding) Sweep(all bool, handle func(*probe.Record)) error {
	return p.Probe.Sweep(all, p.filter(handle))
}

func (p *hiding) Stats() (probe.Stats, error) {
	stats, err := p.Probe.Stats()
	stats.Tally.Vanished += p.hidden.Load()
	return stats, err
}

func TestEndsThatTheKernelHidAreNotActive(t *testing.T) {
	const many, port = 300, "10.244.0.11:80"
	network := testhost.NewNetwork(t)
	client, server := network.Host("client", "10.244.0.10/24"), network.Host("server", "10.244.0.11/24")
	server.Keep(port)
	held := client.Hold(port)
	kernel := new(hiding)
	a, sink := inKernelOf(t, func(s *configured) {
		s.series.Enabled = map[string]bool{"kmesh.tcp.connections.active": true, "kmesh.tcp.connections.closed": true}
		s.CollectionInterval, s.Identity.Settle = 200*time.Millisecond, 200*time.Millisecond
	}, func(o probe.Options) (Probe, error) {
		p, err := probe.Open(o)
		kernel.Probe = thorough{p}
		return kernel, err
	})
	are := func(source, destination int64) {
		t.Helper()
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, map[string]int64{"source": source, "destination": destination}, activeNow(sink))
		}, time.Minute, 20*time.Millisecond)
	}
	held.Open(many)
	are(many, many)
	kernel.hide.Store(50)
	held.Close(100)
	are(many-100, many-100)
	require.Equal(t, uint64(50), kernel.hidden.Load())
	held.Close(100)
	held.Open(10)
	are(many-190, many-190)
	require.NoError(t, a.Stop(t.Context()))
}
