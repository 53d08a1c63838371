// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

var serviceLabels = []string{
	"reporter", "source_workload", "source_canonical_service", "source_canonical_revision", "source_workload_namespace",
	"source_principal", "source_app", "source_version", "source_cluster", "destination_service",
	"destination_service_namespace", "destination_service_name", "destination_workload", "destination_canonical_service",
	"destination_canonical_revision", "destination_workload_namespace", "destination_principal", "destination_app",
	"destination_version", "destination_cluster", "request_protocol", "response_flags", "connection_security_policy",
}

// flushes are two batches of a node with 1,000 flows, five metrics each, as the receiver writes them.
func flushes(start time.Time) (batches [2]pmetric.Metrics, points int) {
	const flows = 1000
	var labels [flows]pcommon.Map
	for i := range labels {
		labels[i] = pcommon.NewMap()
		for _, label := range serviceLabels {
			value := "unknown"
			switch label {
			case "source_workload", "source_canonical_service", "source_app":
				value = fmt.Sprint("frontend-", i)
			case "destination_service":
				value = fmt.Sprintf("backend-%d.shop.svc.cluster.local", i)
			case "destination_workload", "destination_canonical_service", "destination_app", "destination_service_name":
				value = fmt.Sprint("backend-", i)
			case "source_principal", "destination_principal":
				value = fmt.Sprintf("spiffe://cluster.local/ns/shop/sa/account-%d", i)
			case "source_workload_namespace", "destination_workload_namespace", "destination_service_namespace":
				value = "shop"
			case "reporter":
				value = "source"
			}
			labels[i].PutStr(label, value)
		}
	}
	for n := range batches {
		batches[n] = pmetric.NewMetrics()
		of := batches[n].ResourceMetrics().AppendEmpty()
		of.Resource().Attributes().PutStr("service.instance.id", "node-a")
		metrics := of.ScopeMetrics().AppendEmpty().Metrics()
		for _, name := range []string{"kmesh.tcp.sent", "kmesh.tcp.received", "kmesh.tcp.connections.opened", "kmesh.tcp.connections.closed", "kmesh.tcp.conntections.failed"} {
			m := metrics.AppendEmpty()
			m.SetName(name)
			m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			for i := range labels {
				p := m.Sum().DataPoints().AppendEmpty()
				labels[i].CopyTo(p.Attributes())
				p.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
				p.SetTimestamp(pcommon.NewTimestampFromTime(start.Add(time.Duration(n+1) * flush)))
				p.SetIntValue(int64(n * i))
			}
			points += flows
		}
	}
	return batches, points
}

// BenchmarkPoint measures what a point costs without a viewer; each carries something new.
func BenchmarkPoint(b *testing.B) {
	w := newWorld(b, 2000)
	batches, points := flushes(w.now)
	points /= 2
	w.ConsumeMetrics(batches[0])
	metrics := batches[1].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics()
	b.ReportAllocs()
	var spent time.Duration
	rounds := 0
	for b.Loop() {
		b.StopTimer()
		w.now = w.now.Add(flush)
		for _, m := range metrics.All() {
			for _, p := range m.Sum().DataPoints().All() {
				p.SetTimestamp(pcommon.NewTimestampFromTime(w.now))
				p.SetIntValue(p.IntValue() + 100)
			}
		}
		b.StartTimer()
		begin := time.Now()
		w.ConsumeMetrics(batches[1])
		spent += time.Since(begin)
		rounds++
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(rounds*points), "ns/point")
}

func BenchmarkDraw(b *testing.B) {
	w := newWorld(b, 5000)
	batches, _ := flushes(w.now)
	w.now = w.now.Add(2 * flush)
	w.ConsumeMetrics(batches[0])
	w.ConsumeMetrics(batches[1])
	require.NotEmpty(b, w.Draw().Links)
	for b.Loop() {
		w.Draw()
	}
}

func TestAPointAllocatesNothing(t *testing.T) {
	w := newWorld(t, 2000)
	batches, points := flushes(w.now)
	w.ConsumeMetrics(batches[0])
	w.now = w.now.Add(2 * flush)
	w.ConsumeMetrics(batches[1])
	allocations := testing.AllocsPerRun(3, func() { w.ConsumeMetrics(batches[1]) })
	require.Less(t, allocations, float64(points)/100)
}
