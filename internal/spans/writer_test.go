// SPDX-License-Identifier: Apache-2.0

package spans

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
	"github.com/kmesh-net/otelcol-kmesh/test/golden"
)

func newWriter(settings Settings, size int, full func(ptrace.Traces, int)) *Writer {
	resource := pcommon.NewResource()
	resource.Attributes().PutStr("service.name", "kmesh")
	resource.Attributes().PutStr("host.name", "host-1")
	resource.Attributes().PutStr("k8s.node.name", "node-1")
	scope := pcommon.NewInstrumentationScope()
	scope.SetName("github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver")
	scope.SetVersion("1.2.3")
	return NewWriter(settings, resource, scope, size, full)
}

// write returns the spans of connections as one batch.
func write(t *testing.T, settings Settings, connections ...*flow.Connection) ptrace.Traces {
	t.Helper()
	var batches []ptrace.Traces
	w := newWriter(settings, 1000, func(batch ptrace.Traces, spans int) {
		require.Equal(t, batch.SpanCount(), spans)
		batches = append(batches, batch)
	})
	for _, c := range connections {
		w.Add(flowtest.Name(c, flowtest.SampleWorld{}), flowtest.Noon)
	}
	w.Flush(flowtest.Noon)
	w.Flush(flowtest.Noon) // nothing more to pass on
	require.Len(t, batches, 1)
	return batches[0]
}

func span(batch ptrace.Traces, resource int) ptrace.Span {
	return batch.ResourceSpans().At(resource).ScopeSpans().At(0).Spans().At(0)
}

// ends are both ends of one connection.
func ends() (client, server *flow.Connection) {
	client, server = flowtest.Sample(), flowtest.Sample()
	client.Direction = flow.Outbound
	client.Connect = 412300 * time.Nanosecond
	client.Trace = flow.NewTrace(1, 2)
	server.Trace = client.Trace
	return client, server
}

func TestBothEndsAreOneTrace(t *testing.T) {
	client, server := ends()
	batch := write(t, Settings{Pods: true}, client, server)
	c, s := span(batch, 0), span(batch, 1)
	require.Equal(t, "b3703ad894507022acb0770836e3e52b", c.TraceID().String())
	require.Equal(t, c.TraceID(), s.TraceID())
	require.Equal(t, "768d33984af88a51", c.SpanID().String())
	require.True(t, c.ParentSpanID().IsEmpty())
	require.Equal(t, ptrace.SpanKindClient, c.Kind())
	require.Equal(t, "7510de5d6921582e", s.SpanID().String())
	require.Equal(t, c.SpanID(), s.ParentSpanID())
	require.Equal(t, ptrace.SpanKindServer, s.Kind())
	for _, s := range []ptrace.Span{c, s} {
		require.Equal(t, "TCP productpage", s.Name())
		require.Equal(t, ptrace.StatusCodeUnset, s.Status().Code())
		require.Equal(t, client.Start, s.StartTimestamp().AsTime())
		require.Equal(t, client.At, s.EndTimestamp().AsTime())
	}
}

func TestTheResourceIsTheWorkloads(t *testing.T) {
	client, server := ends()
	batch := write(t, Settings{Pods: true}, client, server, client)
	require.Equal(t, 2, batch.ResourceSpans().Len())
	require.Equal(t, map[string]any{
		"service.name": "prometheus", "service.namespace": "istio-system", "service.version": "latest",
		"k8s.pod.name": "prometheus-5fb7f6f8d8-h9cts", "k8s.namespace.name": "istio-system", "k8s.cluster.name": "Kubernetes",
		"host.name": "host-1", "k8s.node.name": "node-1",
	}, batch.ResourceSpans().At(0).Resource().Attributes().AsRaw())
	require.Equal(t, 2, batch.ResourceSpans().At(0).ScopeSpans().At(0).Spans().Len())
	require.Equal(t, map[string]any{
		"service.name": "productpage", "service.namespace": "echo-1-27855", "service.version": "v1",
		"k8s.pod.name": "productpage-v1-8499c849b9-bz9t9", "k8s.namespace.name": "echo-1-27855",
		"host.name": "host-1", "k8s.node.name": "node-1",
	}, batch.ResourceSpans().At(1).Resource().Attributes().AsRaw())

	processes := write(t, Settings{}, client)
	require.NotContains(t, processes.ResourceSpans().At(0).Resource().Attributes().AsRaw(), "k8s.pod.name")

	nobody := flowtest.FailedSample()
	nobody.Source = nobody.Destination
	batch = write(t, Settings{Pods: true}, nobody)
	require.Equal(t, map[string]any{"service.name": "unknown_service", "host.name": "host-1", "k8s.node.name": "node-1"},
		batch.ResourceSpans().At(0).Resource().Attributes().AsRaw())
}

func TestTheNameIsTheDestinations(t *testing.T) {
	w := newWriter(Settings{}, 10, func(ptrace.Traces, int) {})
	c := flowtest.Sample()
	f := &flow.Flow{Connection: c, Destination: flowtest.ProductpagePod, Service: flowtest.ProductpageService}
	require.Equal(t, "TCP productpage", w.name(f))
	f.Service = nil
	require.Equal(t, "TCP productpage-v1", w.name(f))
	f.Destination = nil
	require.Equal(t, "TCP 10.244.0.13", w.name(f))
	f.Service = &identity.Service{Name: "\xff"}
	require.Equal(t, "TCP \uFFFD", w.name(f), "a name is UTF-8")
}

func TestWhatWentWrongIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		event  flow.Event
		reason flow.CloseReason
		failed string
		code   ptrace.StatusCode
		want   string
	}{
		"fin":     {flow.EventClosed, flow.ReasonFIN, "", ptrace.StatusCodeUnset, ""},
		"abort":   {flow.EventClosed, flow.ReasonAbort, "", ptrace.StatusCodeUnset, ""},
		"reset":   {flow.EventClosed, flow.ReasonReset, "", ptrace.StatusCodeError, "reset"},
		"timeout": {flow.EventClosed, flow.ReasonTimeout, "", ptrace.StatusCodeError, "timed_out"},
		"refused": {flow.EventFailed, flow.ReasonNone, "connection_refused", ptrace.StatusCodeError, "connection_refused"},
	} {
		t.Run(name, func(t *testing.T) {
			c := flowtest.Sample()
			c.Event, c.Reason, c.ErrorType = tt.event, tt.reason, tt.failed
			s := span(write(t, Settings{}, c), 0)
			require.Equal(t, tt.code, s.Status().Code())
			require.Equal(t, tt.want, s.Status().Message())
			if got, has := s.Attributes().Get("error.type"); has || tt.want != "" {
				require.Equal(t, tt.want, got.Str())
			}
		})
	}
}

func TestOnlyEndsThatAreOverAreSpans(t *testing.T) {
	open, recovered := flowtest.Sample(), flowtest.Sample()
	open.Event, recovered.Event = flow.EventOpen, flow.EventRecovered
	w := newWriter(Settings{}, 1, func(ptrace.Traces, int) { t.Error("a span of an end that is not over") })
	w.Add(flowtest.Name(open, flowtest.SampleWorld{}), flowtest.Noon)
	w.Add(flowtest.Name(recovered, flowtest.SampleWorld{}), flowtest.Noon)
	w.Flush(flowtest.Noon)
}

func TestBatchesAreHandedOverWhenFull(t *testing.T) {
	var sizes []int
	w := newWriter(Settings{}, 3, func(_ ptrace.Traces, spans int) { sizes = append(sizes, spans) })
	for range 7 {
		w.Add(flowtest.Name(flowtest.Sample(), flowtest.SampleWorld{}), flowtest.Noon)
	}
	w.Flush(flowtest.Noon)
	require.Equal(t, []int{3, 3, 1}, sizes)
}

func TestSpansGolden(t *testing.T) {
	client, server := ends()
	failed := flowtest.FailedSample()
	failed.Trace = flow.RandomTrace(1)
	text, err := (&ptrace.JSONMarshaler{}).MarshalTraces(write(t, Settings{Pods: true}, client, server, failed))
	require.NoError(t, err)
	golden.Require(t, "traces.json", text)
}

func BenchmarkWrite(b *testing.B) {
	w := newWriter(Settings{Pods: true}, 1000, func(ptrace.Traces, int) {})
	client, _ := ends()
	f := flowtest.Name(client, flowtest.SampleWorld{})
	b.ReportAllocs()
	for b.Loop() {
		w.Add(f, flowtest.Noon)
	}
}
