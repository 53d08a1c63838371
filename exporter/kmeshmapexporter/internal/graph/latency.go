// SPDX-License-Identifier: Apache-2.0

package graph

import "go.opentelemetry.io/collector/pdata/pmetric"

// histogramSeries is a cumulative histogram of one reporter, of which the graph uses the sum and the count.
type histogramSeries struct {
	edge    *edge
	sum     float64
	count   uint64
	start   uint64
	at      uint64
	arrived int64
}

func (g *Graph) histogram(p pmetric.ExponentialHistogramDataPoint, known metric, r *resource, prefix uint64, now int64) {
	g.counts.Points++
	key := g.hasher.attributes(prefix, p.Attributes())
	s := g.histograms[key]
	if p.Flags().NoRecordedValue() {
		delete(g.histograms, key)
		return
	}
	start, at := uint64(p.StartTimestamp()), uint64(p.Timestamp())
	first := s == nil
	if first {
		if g.isFull() {
			g.counts.Refused++
			return
		}
		l := readLabels(p.Attributes())
		s = &histogramSeries{edge: g.edge(l.edge())}
		g.histograms[key] = s
	}
	if !first && at <= s.at {
		return
	}
	sum, count := p.Sum(), p.Count()
	isNew := first && at-min(start, at) <= uint64(newFor) || !first && start > s.start
	switch {
	case isNew:
	case first:
		sum, count = 0, 0
	default:
		sum -= s.sum
		count -= min(s.count, count)
	}
	s.sum, s.count, s.start, s.at, s.arrived = p.Sum(), p.Count(), start, at, now
	if count == 0 || sum < 0 {
		return
	}
	e := g.edges[s.edge.key]
	if e == nil || e.history == nil {
		return // it carries nothing that is drawn
	}
	seconds, times := connectSeconds, connects
	if known.measure == roundTrip {
		seconds, times = roundTripSeconds, roundTrips
	}
	gap := r.gap()
	e.history.spread(seconds, sum, now-gap, now, g.settings.step())
	e.history.spread(times, float64(count), now-gap, now, g.settings.step())
}
