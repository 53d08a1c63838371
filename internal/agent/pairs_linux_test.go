// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
	"github.com/kmesh-net/otelcol-kmesh/internal/spans"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// Connections are translated twice, go over a slow link, and lose one packet in a hundred. So their last segments arrive by
// timers, at any moment, also while a kernel keeps them from the programs (docs/exactness.md): such an end is counted.
func TestEachEndIsASpanUnlessTheKernelHidIt(t *testing.T) {
	const connections = 2000
	network := testhost.NewNetwork(t)
	client, server := network.Host("client", "10.244.0.10/24"), network.Host("server", "10.244.0.11/24")
	client.Run("ip", "addr", "add", "10.244.0.77/24", "dev", "eth0")
	client.Run("ip", "route", "add", "10.96.0.0/16", "dev", "eth0")
	client.Run("nft", "add table ip nat; add chain ip nat output { type nat hook output priority -100; }; "+
		"add rule ip nat output ip daddr 10.96.5.6 tcp dport 8000 dnat to 10.244.0.11:80; "+
		"add chain ip nat postrouting { type nat hook postrouting priority 100; }; "+
		"add rule ip nat postrouting ip daddr 10.244.0.11 tcp dport 80 snat to 10.244.0.77")
	for _, host := range []*testhost.Host{client, server} {
		host.Run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "100mbit", "burst", "16kb", "latency", "500ms")
		host.Run("nft", "add table inet loss; add chain inet loss in { type filter hook input priority 0; }; "+
			"add rule inet loss in meta l4proto tcp numgen random mod 100 == 0 drop")
	}

	received := new(consumertest.TracesSink)
	a, _ := inKernel(t, func(c *configured) {
		c.CollectionInterval = 200 * time.Millisecond
		c.Signals = append(c.Signals, Signal{"traces", func(s sink.Settings) Sink {
			return spans.NewSink(spans.Config{}, s, received, noReport{})
		}})
	}, nil)
	converse(t, client, server, "10.96.5.6:8000", "10.244.0.11:80", connections, 5000, answer)
	var hidden int
	assert.Eventually(t, func() bool {
		hidden = int(a.Observation().Probe.Tally.Vanished)
		return received.SpanCount()+hidden >= 2*connections
	}, time.Minute, 10*time.Millisecond)
	late := a.Observation().Probe.Tally.Late
	require.NoError(t, a.Stop(t.Context()))

	traces := map[pcommon.TraceID]map[ptrace.SpanKind]bool{}
	for _, batch := range received.AllTraces() {
		for _, resource := range batch.ResourceSpans().All() {
			for _, span := range resource.ScopeSpans().At(0).Spans().All() {
				kinds := traces[span.TraceID()]
				if kinds == nil {
					kinds = map[ptrace.SpanKind]bool{}
					traces[span.TraceID()] = kinds
				}
				require.False(t, kinds[span.Kind()], "two ends have one id")
				kinds[span.Kind()] = true
			}
		}
	}
	alone := 0
	for _, kinds := range traces {
		if len(kinds) == 1 {
			alone++
		}
	}
	t.Logf("%d spans in %d traces, %d of them with one end; the kernel hid the end of %d sockets, and other changes of %d",
		received.SpanCount(), len(traces), alone, hidden, late)
	require.Equal(t, 2*connections, received.SpanCount()+hidden)
	require.LessOrEqual(t, alone, hidden)
}
