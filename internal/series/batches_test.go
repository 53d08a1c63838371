// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
	"github.com/kmesh-net/otelcol-kmesh/test/golden"
)

// The telemetry contract's table, to the letter.
func TestTheMetricsAreTheContracts(t *testing.T) {
	var got []string
	for _, m := range Metrics() {
		got = append(got, m.Name+" "+m.Unit)
		require.NotEmpty(t, m.Description)
	}
	require.Equal(t, []string{
		"kmesh.tcp.connections.opened {connection}",
		"kmesh.tcp.connections.closed {connection}",
		"kmesh.tcp.received By",
		"kmesh.tcp.sent By",
		"kmesh.tcp.conntections.failed {connection}",
		"kmesh.tcp.workload.connections.opened {connection}",
		"kmesh.tcp.workload.connections.closed {connection}",
		"kmesh.tcp.workload.received By",
		"kmesh.tcp.workload.sent By",
		"kmesh.tcp.workload.conntections.failed {connection}",
		"kmesh.tcp.retrans {segment}",
		"kmesh.tcp.packet_loss {segment}",
		"kmesh.tcp.connection.sent By",
		"kmesh.tcp.connection.received By",
		"kmesh.tcp.connection.retrans {segment}",
		"kmesh.tcp.connection.packet_lost {segment}",
		"istio.tcp.connections.opened ", "istio.tcp.connections.closed ", "istio.tcp.connections.failed ",
		"istio.tcp.received.bytes ", "istio.tcp.sent.bytes ",
		"kmesh.tcp.connect.duration s", "kmesh.tcp.connection.duration s", "kmesh.tcp.rtt s",
		"kmesh.tcp.connections.active {connection}",
	}, got)
}

func TestMetricsOfAllSets(t *testing.T) {
	a := newSubject(allSets(), flowtest.SampleWorld{})
	long := sample()
	long.ID, long.Duration, long.Start = 0x1003, time.Minute, noon.Add(-time.Minute)
	for _, c := range []*flow.Connection{sample(), failedSample(), long} {
		a.Add(c, noon)
	}
	metrics, points := a.Snapshot(noon.Add(5 * time.Second)).write()
	require.Equal(t, metrics.DataPointCount(), points)
	text, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(metrics)
	require.NoError(t, err)
	golden.Require(t, "metrics.json", text)
}

// values lists what was written: name, response flags or what else marks the series, value or "stale".
func values(metrics pmetric.Metrics) (all []string) {
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, m := range scope.Metrics().All() {
				for _, p := range m.Sum().DataPoints().All() {
					value := fmt.Sprint(p.IntValue())
					if p.Flags().NoRecordedValue() {
						value = "stale"
					}
					flags, _ := p.Attributes().Get("response_flags")
					all = append(all, m.Name()+" "+flags.AsString()+" "+value)
				}
			}
		}
	}
	return all
}

func TestFailedConnectsHaveNoOtherMetricButWhatTheyCounted(t *testing.T) {
	a := newSubject(allSets(), flowtest.SampleWorld{})
	a.Add(failedSample(), noon)
	metrics, points := a.Snapshot(noon).write()
	require.Equal(t, 3, points)
	require.Equal(t, []string{
		"kmesh.tcp.conntections.failed CONNECT 1",
		"kmesh.tcp.workload.conntections.failed CONNECT 1",
		"kmesh.tcp.retrans CONNECT 1",
	}, values(metrics))
}

func TestOnlyEnabledMetricsAreWritten(t *testing.T) {
	written := func(enabled map[string]bool) (pmetric.Metrics, int) {
		settings := allSets()
		settings.Enabled = enabled
		a := newSubject(settings, flowtest.SampleWorld{})
		a.Add(sample(), noon)
		a.Add(failedSample(), noon)
		return a.Snapshot(noon).write()
	}
	for _, m := range Metrics()[:12] {
		metrics, points := written(map[string]bool{m.Name: true, "no.such.metric": true})
		require.NotZero(t, points, m.Name)
		written := metrics.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics()
		require.Equal(t, 1, written.Len())
		require.Equal(t, m.Name, written.At(0).Name())
	}
	metrics, points := written(nil)
	require.Zero(t, points)
	require.Zero(t, metrics.ResourceMetrics().Len())
}

func TestEndedSeriesComeLastEachInItsOwnMetric(t *testing.T) {
	a := newSubject(allSets(), flowtest.SampleWorld{})
	a.Add(sample(), noon)
	a.Add(failedSample(), noon)
	a.Delivered(a.Snapshot(noon).ID())
	later := noon.Add(time.Hour)
	again := sample()
	again.Direction = flow.Outbound
	a.Add(again, later)
	snap := a.Snapshot(later.Add(time.Second))
	metrics, points := snap.write()
	require.Equal(t, []string{
		"kmesh.tcp.connections.opened - 1",
		"kmesh.tcp.connections.closed - 1",
		"kmesh.tcp.received - 292",
		"kmesh.tcp.sent - 5",
		"kmesh.tcp.workload.connections.opened - 1",
		"kmesh.tcp.workload.connections.closed - 1",
		"kmesh.tcp.workload.received - 292",
		"kmesh.tcp.workload.sent - 5",
		"kmesh.tcp.retrans - 1",
		"kmesh.tcp.packet_loss - 2",
		"kmesh.tcp.connections.opened - stale",
		"kmesh.tcp.connections.closed - stale",
		"kmesh.tcp.received - stale",
		"kmesh.tcp.sent - stale",
		"kmesh.tcp.conntections.failed CONNECT stale",
		"kmesh.tcp.workload.connections.opened - stale",
		"kmesh.tcp.workload.connections.closed - stale",
		"kmesh.tcp.workload.received - stale",
		"kmesh.tcp.workload.sent - stale",
		"kmesh.tcp.retrans - stale",
		"kmesh.tcp.packet_loss - stale",
		"kmesh.tcp.workload.conntections.failed CONNECT stale",
		"kmesh.tcp.retrans CONNECT stale",
	}, values(metrics))
	require.Equal(t, points, metrics.MetricCount(), "each in its own")
	for _, m := range metrics.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		p := m.Sum().DataPoints().At(0)
		require.Equal(t, pmetric.NumberDataPointValueTypeEmpty == p.ValueType(), p.Flags().NoRecordedValue())
		require.Less(t, p.StartTimestamp(), p.Timestamp())
		require.Equal(t, snap.At, p.Timestamp())
		require.NotEmpty(t, m.Unit())
	}
}

// A consumer may change what it is given; the next flush must not show it.
func TestWhatAConsumerChangesIsItsOwn(t *testing.T) {
	a := newSubject(allSets(), flowtest.SampleWorld{})
	a.Add(sample(), noon)
	first, _ := a.Snapshot(noon).write()
	resource := first.ResourceMetrics().At(0)
	resource.Resource().Attributes().Clear()
	for _, m := range resource.ScopeMetrics().At(0).Metrics().All() {
		m.Sum().DataPoints().At(0).Attributes().PutStr("reporter", "changed")
	}
	second, _ := a.Snapshot(noon).write()
	require.Equal(t, 2, second.ResourceMetrics().At(0).Resource().Attributes().Len())
	for _, m := range second.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		v, _ := m.Sum().DataPoints().At(0).Attributes().Get("reporter")
		require.Equal(t, "destination", v.Str())
	}
}

func TestASnapshotIsWrittenInBatches(t *testing.T) {
	batches := func(snapshot *Snapshot) (points []int) {
		for batch, n := range snapshot.Batches() {
			require.Equal(t, batch.DataPointCount(), n)
			points = append(points, n)
		}
		return points
	}
	require.Equal(t, []int{4 * seriesPerBatch, 4}, batches(snapshotOf(seriesPerBatch+1)))
	require.Empty(t, batches(newSubject(allSets(), flowtest.SampleWorld{}).Snapshot(noon)))
	for range snapshotOf(3 * seriesPerBatch).Batches() {
		break // must not go on
	}
	without := snapshotOf(2)
	without.format = &format{resource: pcommon.NewResource(), scope: pcommon.NewInstrumentationScope()}
	require.Empty(t, batches(without), "no metric is enabled: there is nothing to deliver")
}

// BenchmarkFlush writes all parts of a snapshot, each gone before the next, as a delivery does. A series is what it is
// to Prometheus: one metric with one set of labels. ns/series must not grow with their number.
func BenchmarkFlush(b *testing.B) {
	for _, series := range []int{10_000, 100_000, 400_000} {
		b.Run(fmt.Sprint(series), func(b *testing.B) {
			snap := snapshotOf(series / 4)
			one, n := snapshotOf(1000).write()
			size := (&pmetric.ProtoMarshaler{}).MetricsSize(one)
			b.ReportAllocs()
			for b.Loop() {
				points := 0
				for part := range snap.parts(seriesPerBatch) {
					_, n := part.write()
					points += n
				}
				require.Equal(b, series, points)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(series), "ns/series")
			b.ReportMetric(float64(size)/float64(n), "OTLP-B/series")
		})
	}
}

// snapshotOf has n sets of 23 labels, with four metrics each.
func snapshotOf(n int) *Snapshot {
	a := newSubject(allSets(), flowtest.SampleWorld{})
	a.Add(sample(), noon)
	snap := a.Snapshot(noon)
	p := snap.Service.Live[0]
	snap.Service, snap.Workload, snap.Connection = Points{}, Points{}, Points{}
	for i := range n {
		attributes := pcommon.NewMap()
		p.Attributes.CopyTo(attributes)
		attributes.PutStr("source_workload", fmt.Sprint("workload-", i))
		snap.Service.Live = append(snap.Service.Live, Point{Attributes: attributes, Start: p.Start, Values: p.Values})
	}
	return snap
}

func allSets() Settings {
	return Settings{
		Enabled: enable(Service, Workload, Connection), ConnectionMinDuration: 5 * time.Second, Expiration: time.Minute,
		CardinalityLimit: 1 << 20, UnknownAddresses: 1 << 20,
	}
}
