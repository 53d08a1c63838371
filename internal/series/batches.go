// SPDX-License-Identifier: Apache-2.0

package series

import (
	"iter"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// seriesPerBatch bounds the memory of a flush: a set of labels with its metrics takes some 6 KB as pdata. A flush of
// many is the faster for it, and new series have two points for each metric: a message must stay below the 4 MiB that gRPC takes.
// What a batch needs is in the caches, and garbage when the next one comes.
const seriesPerBatch = 512

// format is how snapshots are written. It does not change, and may be used on any goroutine.
type format struct {
	resource                      pcommon.Resource
	scope                         pcommon.InstrumentationScope
	service, workload, connection []metric // that are enabled
	istio                         []metric
	latency                       []latencyMetric
}

// Batches writes the snapshot part by part, each with the number of its points. It may be called on any goroutine.
func (s *Snapshot) Batches() iter.Seq2[pmetric.Metrics, int] {
	return func(yield func(pmetric.Metrics, int) bool) {
		for part := range s.parts(seriesPerBatch) {
			if metrics, points := part.write(); points > 0 && !yield(metrics, points) {
				return
			}
		}
	}
}

// write writes one resource, one scope, one metric for all living series of a name, and then, each in a metric of its
// own, the marks of ended series. It returns how many points there are; with none, the Metrics are empty.
//
// The marks come last because the prometheus exporter drops the points that follow one in the same metric.
func (s *Snapshot) write() (pmetric.Metrics, int) {
	out := pmetric.NewMetrics()
	resource := out.ResourceMetrics().AppendEmpty()
	s.format.resource.CopyTo(resource.Resource())
	scope := resource.ScopeMetrics().AppendEmpty()
	s.format.scope.CopyTo(scope.Scope())

	w := writer{metrics: scope.Metrics(), at: s.At, before: s.before}
	w.live(s.format.service, s.Service.Live)
	w.live(s.format.workload, s.Workload.Live)
	w.live(s.format.connection, s.Connection.Live)
	w.live(s.format.istio, s.Istio.Live)
	w.ended(s.format.service, s.Service.Ended)
	w.ended(s.format.workload, s.Workload.Ended)
	w.ended(s.format.connection, s.Connection.Ended)
	w.ended(s.format.istio, s.Istio.Ended)
	w.latency(s.format.latency, s.Latency)
	if w.points == 0 {
		return pmetric.NewMetrics(), 0
	}
	return out, w.points
}

type writer struct {
	metrics pmetric.MetricSlice
	at      pcommon.Timestamp
	before  pcommon.Timestamp // of the snapshot before
	points  int
}

func (w *writer) live(metrics []metric, series []Point) {
	for i := range metrics {
		m := &metrics[i]
		count := 0
		for j := range series {
			if m.appliesTo(&series[j]) {
				count++
			}
		}
		if count == 0 {
			continue
		}
		points := w.add(m)
		points.EnsureCapacity(count)
		for j := range series {
			if p := &series[j]; m.appliesTo(p) {
				w.zero(points, p, m)
				w.point(points, p).SetIntValue(p.Values[m.counter])
			}
		}
	}
}

// zero writes the point that a metric of a series starts with.
func (w *writer) zero(points pmetric.NumberDataPointSlice, p *Point, m *metric) {
	switch {
	case p.Zero:
		w.point(points, p).SetTimestamp(p.Start)
	case p.startsNow(m): // a sample at Start may be too old for a backend
		w.point(points, p).SetTimestamp(max(p.Start, w.before))
	default:
		return
	}
	points.At(points.Len() - 1).SetIntValue(0)
}

func (w *writer) ended(metrics []metric, series []Point) {
	for i := range series {
		p := &series[i]
		for j := range metrics {
			if m := &metrics[j]; m.appliesTo(p) {
				w.point(w.add(m), p).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
			}
		}
	}
}

// add appends an empty monotonic cumulative sum.
func (w *writer) add(m *metric) pmetric.NumberDataPointSlice {
	out := w.metrics.AppendEmpty()
	out.SetName(m.name)
	out.SetUnit(m.unit)
	out.SetDescription(m.description)
	sum := out.SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	return sum.DataPoints()
}

func (w *writer) point(points pmetric.NumberDataPointSlice, p *Point) pmetric.NumberDataPoint {
	out := points.AppendEmpty()
	p.Attributes.CopyTo(out.Attributes())
	out.SetStartTimestamp(p.Start)
	out.SetTimestamp(w.at)
	w.points++
	return out
}
