// SPDX-License-Identifier: Apache-2.0

package series

import (
	"github.com/lightstep/go-expohisto/structure"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// latencyPoint is a series of the latency set in a snapshot. Nobody changes it.
type latencyPoint struct {
	histograms [numHistograms]histogramPoint
	active     int64
}

type histogramPoint struct {
	values   *structure.Float64
	exemplar *exemplar
}

// latencyMetric is a metric of the latency set.
type latencyMetric struct {
	name, unit  string
	histogram   int // or activeConnections
	description string
}

var latencyMetrics = []latencyMetric{
	{"kmesh.tcp.connect.duration", "s", connectDuration, "Time from the first SYN of a TCP connect until ESTABLISHED."},
	{"kmesh.tcp.connection.duration", "s", connectionDuration, "Time from ESTABLISHED to the close of a TCP connection."},
	{"kmesh.tcp.rtt", "s", roundTrip, "Smoothed round-trip time of a TCP connection."},
	{"kmesh.tcp.connections.active", unitConnection, activeConnections, "TCP connections that are open."},
}

// latency writes the latency set: a metric for all living series of a name, then the marks of ended ones.
func (w *writer) latency(metrics []latencyMetric, points Points) {
	for i := range metrics {
		m := &metrics[i]
		add := w.latencyMetric(m)
		for j := range points.Live {
			p := &points.Live[j]
			switch {
			case p.latency == nil:
			case m.histogram == activeConnections:
				add(p, p.Start, w.at, false)
			case p.latency.histograms[m.histogram].values != nil:
				if p.Zero {
					add(p, p.Start, p.Start, true)
				}
				add(p, p.Start, w.at, false)
			}
		}
	}
	for j := range points.Ended {
		for i := range metrics {
			m, p := &metrics[i], &points.Ended[j]
			if p.latency != nil && (m.histogram == activeConnections || p.latency.histograms[m.histogram].values != nil) {
				w.latencyMetric(m)(p, p.Start, w.at, true).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
			}
		}
	}
}

// flagged is a point of any kind.
type flagged interface{ SetFlags(pmetric.DataPointFlags) }

// latencyMetric returns what appends points to the metric, which is made with the first of them.
func (w *writer) latencyMetric(m *latencyMetric) func(p *Point, start, at pcommon.Timestamp, empty bool) flagged {
	var numbers pmetric.NumberDataPointSlice
	var histograms pmetric.ExponentialHistogramDataPointSlice
	made := false
	return func(p *Point, start, at pcommon.Timestamp, empty bool) flagged {
		if !made {
			made = true
			out := w.metrics.AppendEmpty()
			out.SetName(m.name)
			out.SetUnit(m.unit)
			out.SetDescription(m.description)
			if m.histogram == activeConnections {
				sum := out.SetEmptySum()
				sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
				numbers = sum.DataPoints()
			} else {
				histogram := out.SetEmptyExponentialHistogram()
				histogram.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
				histograms = histogram.DataPoints()
			}
		}
		w.points++
		if m.histogram == activeConnections {
			point := numbers.AppendEmpty()
			p.Attributes.CopyTo(point.Attributes())
			point.SetStartTimestamp(start)
			point.SetTimestamp(at)
			if !empty {
				point.SetIntValue(p.latency.active)
			}
			return point
		}
		point := histograms.AppendEmpty()
		p.Attributes.CopyTo(point.Attributes())
		point.SetStartTimestamp(start)
		point.SetTimestamp(at)
		if !empty {
			p.latency.histograms[m.histogram].write(point)
		}
		return point
	}
}

func (h *histogramPoint) write(to pmetric.ExponentialHistogramDataPoint) {
	v := h.values
	to.SetCount(v.Count())
	to.SetSum(v.Sum())
	to.SetMin(v.Min())
	to.SetMax(v.Max())
	to.SetScale(v.Scale())
	to.SetZeroCount(v.ZeroCount())
	buckets := v.Positive()
	to.Positive().SetOffset(buckets.Offset())
	counts := to.Positive().BucketCounts()
	counts.EnsureCapacity(int(buckets.Len()))
	for i := range buckets.Len() {
		counts.Append(buckets.At(i))
	}
	if e := h.exemplar; e != nil {
		out := to.Exemplars().AppendEmpty()
		out.SetTimestamp(pcommon.NewTimestampFromTime(e.at))
		out.SetDoubleValue(e.seconds)
		out.SetTraceID(e.trace)
		out.SetSpanID(e.span)
	}
}
