// SPDX-License-Identifier: Apache-2.0

//go:build kernels

package kernels

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"

	kmeshreceiver "github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// bothEnds are the spans of one trace by their kind.
type bothEnds map[ptrace.SpanKind]ptrace.Span

// spansByTrace returns the ends of connections, once so many are there.
func spansByTrace(t *testing.T, sink *consumertest.TracesSink, spans int) map[pcommon.TraceID]bothEnds {
	t.Helper()
	require.Eventually(t, func() bool { return sink.SpanCount() >= spans }, time.Minute, 10*time.Millisecond)
	traces := make(map[pcommon.TraceID]bothEnds)
	for _, batch := range sink.AllTraces() {
		for _, resource := range batch.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					ends := traces[span.TraceID()]
					if ends == nil {
						ends = make(bothEnds)
						traces[span.TraceID()] = ends
					}
					require.NotContains(t, ends, span.Kind(), "two ends have one id")
					ends[span.Kind()] = span
				}
			}
		}
	}
	return traces
}

func TestBothEndsOfATranslatedConnectionAreOneTrace(t *testing.T) {
	if version, _ := running(t); version < 515 {
		t.Skip("this kernel is below the floor")
	}
	const connections = 40
	network := testhost.NewNetwork(t)
	client, server := network.Host("client", "10.244.0.10/24"), network.Host("server", "10.244.0.11/24")
	client.Run("ip", "addr", "add", "10.244.0.77/24", "dev", "eth0")
	client.Run("ip", "route", "add", "10.96.0.0/16", "dev", "eth0")
	client.Run("nft", "add table ip nat; add chain ip nat output { type nat hook output priority -100; }; "+
		"add rule ip nat output ip daddr 10.96.5.5 tcp dport 8000 dnat to 10.244.0.11:80; "+
		"add chain ip nat postrouting { type nat hook postrouting priority 100; }; "+
		"add rule ip nat postrouting ip daddr 10.244.0.11 tcp dport 80 snat to 10.244.0.77")

	factory := kmeshreceiver.NewFactory()
	config := factory.CreateDefaultConfig().(*kmeshreceiver.Config)
	config.Identity.Source = "host"
	settings := receivertest.NewNopSettings(factory.Type())
	spans, lines := new(consumertest.TracesSink), new(consumertest.LogsSink)
	traces, err := factory.CreateTraces(t.Context(), settings, config, spans)
	require.NoError(t, err)
	logs, err := factory.CreateLogs(t.Context(), settings, config, lines)
	require.NoError(t, err)
	require.NoError(t, traces.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, logs.Start(t.Context(), componenttest.NewNopHost()))
	defer func() {
		require.NoError(t, traces.Shutdown(t.Context()))
		require.NoError(t, logs.Shutdown(t.Context()))
	}()

	var listener net.Listener
	server.Do(func() { listener, err = net.Listen("tcp", "10.244.0.11:80") })
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	begin := time.Now()
	for range connections {
		var from net.Conn
		client.Do(func() { from, err = net.Dial("tcp", "10.96.5.5:8000") })
		require.NoError(t, err)
		to, err := listener.Accept()
		require.NoError(t, err)
		require.Equal(t, "10.244.0.77", to.RemoteAddr().(*net.TCPAddr).IP.String())
		_, err = from.Write(make([]byte, 100))
		require.NoError(t, err)
		require.NoError(t, from.(*net.TCPConn).CloseWrite())
		_, err = io.Copy(io.Discard, to)
		require.NoError(t, err)
		require.NoError(t, to.Close())
		_, err = io.Copy(io.Discard, from)
		require.NoError(t, err)
		require.NoError(t, from.Close())
	}

	pairs := spansByTrace(t, spans, 2*connections)
	require.Len(t, pairs, connections, "no two connections have one id")
	for id, ends := range pairs {
		require.Contains(t, ends, ptrace.SpanKindClient, id)
		require.Contains(t, ends, ptrace.SpanKindServer, id)
		c, s := ends[ptrace.SpanKindClient], ends[ptrace.SpanKindServer]
		assert.True(t, c.ParentSpanID().IsEmpty())
		assert.Equal(t, c.SpanID(), s.ParentSpanID())
		assert.False(t, c.StartTimestamp().AsTime().Before(begin.Add(-time.Second)))
		// One clock for both here: the server's end is not open before the client's first SYN.
		assert.LessOrEqual(t, c.StartTimestamp(), s.StartTimestamp())
		for _, span := range ends {
			assert.Less(t, span.StartTimestamp(), span.EndTimestamp())
			assert.Equal(t, ptrace.StatusCodeUnset, span.Status().Code())
		}
	}

	// A record of the access log has the id of its span.
	require.Eventually(t, func() bool { return lines.LogRecordCount() >= 2*connections }, time.Minute, 10*time.Millisecond)
	for _, batch := range lines.AllLogs() {
		for _, resource := range batch.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					ends := pairs[record.TraceID()]
					direction, has := record.Attributes().Get("direction")
					require.True(t, has)
					kind := ptrace.SpanKindClient
					if direction.Str() == "INBOUND" {
						kind = ptrace.SpanKindServer
					}
					require.Contains(t, ends, kind, "a record without its span")
					assert.Equal(t, ends[kind].SpanID(), record.SpanID())
				}
			}
		}
	}
}
