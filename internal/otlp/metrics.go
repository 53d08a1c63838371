// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"iter"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Metrics writes snapshots as pmetric.Metrics.  It holds no state and may be used on any goroutine.
type Metrics struct {
	settings                      Settings
	service, workload, connection []metric
}

// NewMetrics makes a Metrics that writes the metrics for whose name enabled is true.
func NewMetrics(settings Settings, enabled map[string]bool) *Metrics {
	return &Metrics{
		settings:   settings,
		service:    only(serviceMetrics, enabled),
		workload:   only(workloadMetrics, enabled),
		connection: only(connectionMetrics, enabled),
	}
}

func only(all []metric, enabled map[string]bool) []metric {
	var on []metric
	for _, m := range all {
		if enabled[m.name] {
			on = append(on, m)
		}
	}
	return on
}

// Build writes snap: one resource, one scope, one metric for all living series of a name, and then, each in a metric
// of its own, the marks of ended series.  It returns how many points there are; with none, the Metrics are empty.
//
// The marks come last because the prometheus exporter drops the points that follow one in the same metric.
func (b *Metrics) Build(snap *flow.Snapshot) (pmetric.Metrics, int) {
	out := pmetric.NewMetrics()
	resource := out.ResourceMetrics().AppendEmpty()
	b.settings.Resource.CopyTo(resource.Resource())
	scope := resource.ScopeMetrics().AppendEmpty()
	scope.Scope().SetName(ScopeName)
	scope.Scope().SetVersion(b.settings.Version)

	w := writer{metrics: scope.Metrics(), at: snap.At}
	w.live(b.service, snap.Service.Live)
	w.live(b.workload, snap.Workload.Live)
	w.live(b.connection, snap.Connection.Live)
	w.ended(b.service, snap.Service.Ended)
	w.ended(b.workload, snap.Workload.Ended)
	w.ended(b.connection, snap.Connection.Ended)
	if w.points == 0 {
		return pmetric.NewMetrics(), 0
	}
	return out, w.points
}

type writer struct {
	metrics pmetric.MetricSlice
	at      pcommon.Timestamp
	points  int
}

func (w *writer) live(metrics []metric, series []flow.Point) {
	for i := range metrics {
		m := &metrics[i]
		count := 0
		for j := range series {
			if m.of(&series[j]) {
				count++
			}
		}
		if count == 0 {
			continue
		}
		points := w.add(m)
		points.EnsureCapacity(count)
		for j := range series {
			if p := &series[j]; m.of(p) {
				w.point(points, p).SetIntValue(m.value(&p.Values))
			}
		}
	}
}

func (w *writer) ended(metrics []metric, series []flow.Point) {
	for i := range series {
		p := &series[i]
		for j := range metrics {
			if m := &metrics[j]; m.of(p) {
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

func (w *writer) point(points pmetric.NumberDataPointSlice, p *flow.Point) pmetric.NumberDataPoint {
	out := points.AppendEmpty()
	p.Attributes.CopyTo(out.Attributes())
	out.SetStartTimestamp(p.Start)
	out.SetTimestamp(w.at)
	w.points++
	return out
}

// seriesPerBatch bounds the memory of a flush: a set of labels with its metrics takes some 6 KB as pdata. A flush of
// many is the faster for it: what a batch needs is in the caches, and garbage when the next one comes.
const seriesPerBatch = 1024

// Snapshot is one of a flow.Aggregator that a delivery takes.
type Snapshot struct {
	*flow.Snapshot
	metrics *Metrics
}

// Snapshot returns what a delivery takes.
func (b *Metrics) Snapshot(snapshot *flow.Snapshot) Snapshot { return Snapshot{snapshot, b} }

// ID is the snapshot's.
func (s Snapshot) ID() uint64 { return s.Snapshot.ID }

// Batches returns the snapshot part by part.
func (s Snapshot) Batches() iter.Seq2[pmetric.Metrics, int] {
	return func(yield func(pmetric.Metrics, int) bool) {
		for part := range s.Parts(seriesPerBatch) {
			metrics, points := s.metrics.Build(part)
			if points > 0 && !yield(metrics, points) {
				return
			}
		}
	}
}
