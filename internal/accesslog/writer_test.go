// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unique"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/kmesh-net/otelcol-kmesh/internal/fields"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/test/golden"
)

// write returns the log of connections as one batch.
func write(t *testing.T, connections ...*flow.Connection) plog.Logs {
	t.Helper()
	var batches []plog.Logs
	w := newWriter(1000, func(batch plog.Logs, records int) {
		require.Equal(t, batch.LogRecordCount(), records)
		batches = append(batches, batch)
	})
	for _, c := range connections {
		w.Add(named(c), noon)
	}
	w.flushAll()
	w.flushAll() // nothing more to pass on
	require.Len(t, batches, 1)
	return batches[0]
}

func records(logs plog.Logs) plog.LogRecordSlice {
	return logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
}

func texts(m pcommon.Map) (all []string) {
	for k, v := range m.All() {
		all = append(all, k+"="+v.AsString())
	}
	return all
}

func TestAClosedConnectionIsTheContractsLine(t *testing.T) {
	c := sample()
	c.Opened = false
	r := records(write(t, c)).At(0)
	require.Equal(t, "src.addr=10.244.0.17:51842, src.workload=prometheus-5fb7f6f8d8-h9cts, src.namespace=istio-system, "+
		"dst.addr=10.244.0.13:9080, dst.service=productpage.echo-1-27855.svc.cluster.local, "+
		"dst.workload=productpage-v1-8499c849b9-bz9t9, dst.namespace=echo-1-27855, direction=INBOUND, "+
		"sent_bytes=5, received_bytes=292, duration=2.733902ms", r.Body().Str())
	require.Equal(t, []string{
		"src.addr=10.244.0.17:51842", "src.workload=prometheus-5fb7f6f8d8-h9cts", "src.namespace=istio-system",
		"dst.addr=10.244.0.13:9080", "dst.service=productpage.echo-1-27855.svc.cluster.local",
		"dst.workload=productpage-v1-8499c849b9-bz9t9", "dst.namespace=echo-1-27855", "direction=INBOUND",
		"sent_bytes=5", "received_bytes=292", "duration=2.733902ms",
		"event=closed", "start_time=2026-03-01T11:59:59.997266098Z", "state=BPF_TCP_CLOSE",
		"retransmissions=1", "packet_loss=2", "srtt=40.515ms", "min_rtt=38µs", "close_reason=fin",
		"src.identity=spiffe://cluster.local/ns/istio-system/sa/prometheus", "src.cluster=Kubernetes",
		"connection.id=1001",
	}, texts(r.Attributes()))
	require.Equal(t, noon, r.Timestamp().AsTime())
	require.Equal(t, noon.Add(50*time.Millisecond), r.ObservedTimestamp().AsTime())
	require.Equal(t, "kmesh.tcp.connection.closed", r.EventName())
	for _, key := range []string{"sent_bytes", "received_bytes", "retransmissions", "packet_loss"} {
		v, _ := r.Attributes().Get(key)
		require.Equal(t, pcommon.ValueTypeInt, v.Type(), key)
	}
}

func TestAFailedConnectHasItsReason(t *testing.T) {
	c := failedSample()
	c.Reason = flow.ReasonReset // error.type has why it failed
	r := records(write(t, c)).At(0)
	require.Equal(t, "src.addr=10.244.0.17:51843, src.workload=prometheus-5fb7f6f8d8-h9cts, src.namespace=istio-system, "+
		"dst.addr=[2001:db8::7]:443, dst.service=2001:db8::7, dst.workload=-, dst.namespace=-, direction=OUTBOUND, "+
		"sent_bytes=0, received_bytes=0, duration=1s, event=failed, error.type=connection_refused", r.Body().Str())
	require.Equal(t, []string{
		"event=failed", "start_time=2026-03-01T11:59:59.000000000Z", "state=BPF_TCP_CLOSE",
		"retransmissions=1", "packet_loss=0", "error.type=connection_refused",
		"src.identity=spiffe://cluster.local/ns/istio-system/sa/prometheus", "src.cluster=Kubernetes",
		"connection.id=1002",
	}, texts(r.Attributes())[11:])
	require.Equal(t, "kmesh.tcp.connection.failed", r.EventName())
}

func TestOpenedAndPeriodicAreMarked(t *testing.T) {
	c := sample()
	c.Event, c.State, c.Reason = flow.EventOpen, flow.StateEstablished, flow.ReasonNone
	all := records(write(t, c))
	require.Equal(t, 2, all.Len())
	opened, periodic := all.At(0), all.At(1)
	require.Contains(t, opened.Body().Str(), "sent_bytes=0, received_bytes=0, duration=0s, event=opened")
	require.Equal(t, c.Start, opened.Timestamp().AsTime())
	require.Contains(t, periodic.Body().Str(), "sent_bytes=5, received_bytes=292, duration=2.733902ms, event=periodic")
	for _, r := range all.All() {
		state, _ := r.Attributes().Get("state")
		require.Equal(t, "BPF_TCP_ESTABLISHED", state.Str())
		_, hasReason := r.Attributes().Get("close_reason")
		require.False(t, hasReason)
	}
}

func TestARecordHasTheTraceAndTheSpanOfItsEnd(t *testing.T) {
	server, client := sample(), sample()
	server.Opened, client.Opened = false, false
	server.Trace = flow.NewTrace(1, 2)
	client.Trace, client.Direction = server.Trace, flow.Outbound
	all := records(write(t, server, client))
	require.Equal(t, "b3703ad894507022acb0770836e3e52b", all.At(0).TraceID().String())
	require.Equal(t, all.At(0).TraceID(), all.At(1).TraceID())
	require.Equal(t, "7510de5d6921582e", all.At(0).SpanID().String())
	require.Equal(t, "768d33984af88a51", all.At(1).SpanID().String())
	require.True(t, all.At(0).Flags().IsSampled())
}

func TestEveryEventHasTheTrace(t *testing.T) {
	open := openSample()
	open.Trace = flow.NewTrace(1, 2)
	all := records(write(t, open))
	require.Equal(t, 2, all.Len())
	for _, r := range all.All() {
		require.Equal(t, "b3703ad894507022acb0770836e3e52b", r.TraceID().String(), r.EventName())
	}
}

func TestTheBodyCanBeLeftOut(t *testing.T) {
	w := NewWriter(Settings{Closed: true, NoBody: true}, pcommon.NewResource(), pcommon.NewInstrumentationScope(), 10, func(plog.Logs, int) {})
	w.Add(named(sample()), noon)
	r := w.records.At(0)
	require.Equal(t, pcommon.ValueTypeEmpty, r.Body().Type())
	require.Equal(t, 22, r.Attributes().Len())
}

func TestSeverity(t *testing.T) {
	for name, tt := range map[string]struct {
		event  flow.Event
		reason flow.CloseReason
		want   plog.SeverityNumber
		text   string
	}{
		"fin":     {flow.EventClosed, flow.ReasonFIN, plog.SeverityNumberInfo, "INFO"},
		"abort":   {flow.EventClosed, flow.ReasonAbort, plog.SeverityNumberInfo, "INFO"},
		"unknown": {flow.EventClosed, flow.ReasonNone, plog.SeverityNumberInfo, "INFO"},
		"reset":   {flow.EventClosed, flow.ReasonReset, plog.SeverityNumberWarn, "WARN"},
		"timeout": {flow.EventClosed, flow.ReasonTimeout, plog.SeverityNumberWarn, "WARN"},
		"failed":  {flow.EventFailed, flow.ReasonNone, plog.SeverityNumberWarn, "WARN"},
		"open":    {flow.EventOpen, flow.ReasonNone, plog.SeverityNumberInfo, "INFO"},
	} {
		t.Run(name, func(t *testing.T) {
			c := sample()
			c.Event, c.Reason, c.Opened = tt.event, tt.reason, false
			r := records(write(t, c)).At(0)
			require.Equal(t, tt.want, r.SeverityNumber())
			require.Equal(t, tt.text, r.SeverityText())
		})
	}
}

func TestNamespaceOfAnUnknownDestinationIsItsServices(t *testing.T) {
	w := newWriter(10, func(plog.Logs, int) {})
	w.write(fields.Closed, noon, &flow.Flow{
		Connection: sample(), Service: &identity.Service{Host: "db.shop.svc", Namespace: "shop"},
	})
	require.Equal(t, []string{"dst.workload=-", "dst.namespace=shop"}, texts(w.records.At(0).Attributes())[5:7])
}

func TestBytesPast4GiBAreWhole(t *testing.T) {
	c := sample()
	c.Opened, c.Total[flow.Sent], c.Total[flow.Received] = false, 5<<32, 1<<63-1
	r := records(write(t, c)).At(0)
	sent, _ := r.Attributes().Get("sent_bytes")
	received, _ := r.Attributes().Get("received_bytes")
	require.Equal(t, int64(5<<32), sent.Int())
	require.Equal(t, int64(1<<63-1), received.Int())
}

func TestBatchesAreHandedOverWhenFull(t *testing.T) {
	var sizes []int
	w := newWriter(3, func(batch plog.Logs, records int) {
		require.Equal(t, records, batch.LogRecordCount())
		scope := batch.ResourceLogs().At(0).ScopeLogs().At(0).Scope()
		require.Equal(t, "github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver 1.2.3", scope.Name()+" "+scope.Version())
		require.Equal(t, 2, batch.ResourceLogs().At(0).Resource().Attributes().Len())
		sizes = append(sizes, records)
	})
	for range 7 {
		c := sample()
		c.Opened = false
		w.Add(named(c), noon)
	}
	w.flushAll()
	require.Equal(t, []int{3, 3, 1}, sizes)
}

func TestLogsGolden(t *testing.T) {
	reset := sample()
	reset.Opened, reset.Reason, reset.Destination = false, flow.ReasonReset, netip.MustParseAddrPort("192.0.2.1:22")
	text, err := (&plog.JSONMarshaler{}).MarshalLogs(write(t, sample(), failedSample(), reset))
	require.NoError(t, err)
	golden.Require(t, "logs.json", text)
}

// escape is what the body does to values.
var escape = strings.NewReplacer("\\", "\\\\", "=", "\\=", ", ", "\\, ")

// bodyFields are the first fields, which every record and every body has.
const bodyFields = 11

func FuzzAttributesAndBodyAreUTF8AndTheSame(f *testing.F) {
	f.Add("httpbin", "\xff", "ECONN\xc3\x28", uint8(1))
	f.Add("", "-", "", uint8(0))
	f.Add("x, dst.workload=forged", `a\=b`, "", uint8(2))
	f.Fuzz(func(t *testing.T, name, namespace, errorType string, event uint8) {
		c := failedSample()
		c.ErrorType = errorType
		who := &identity.Workload{Name: name, Names: unique.Make(identity.Names{Namespace: namespace, Principal: name, Cluster: namespace})}
		w := newWriter(10, func(plog.Logs, int) {})
		w.write(fields.Event(event%4), noon, &flow.Flow{Connection: c, Source: who, Destination: who})
		r := w.records.At(0)
		body := r.Body().Str()
		require.True(t, utf8.ValidString(body))
		position := 0
		for k, v := range r.Attributes().All() {
			require.True(t, utf8.ValidString(v.AsString()), k)
			require.NotEmpty(t, v.AsString(), k)
			if position++; position <= bodyFields {
				require.Contains(t, body, k+"="+escape.Replace(v.AsString()))
			}
		}
		require.GreaterOrEqual(t, position, bodyFields)
	})
}

func BenchmarkLog(b *testing.B) {
	w := newWriter(1000, func(plog.Logs, int) {})
	f := &flow.Flow{
		Connection: sample(), Source: prometheusPod, Destination: productpagePod, Service: productpageService, Observed: noon,
	}
	w.write(fields.Closed, noon, f)
	size := (&plog.ProtoMarshaler{}).LogsSize(w.batch)
	b.ReportAllocs()
	for b.Loop() {
		w.write(fields.Closed, noon, f)
	}
	b.ReportMetric(float64(size), "OTLP-B/record")
}
