// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"slices"
	"time"
)

const (
	// A series whose first point is at most this much younger than its start counts from zero. An older one was counted
	// before: its first value is where counting begins.
	newFor = 30 * time.Second
	// A point that arrives up to this late is placed at its own time. Later, or early, says that clocks differ.
	lateBy = time.Minute
	// The interval of a sender of which one batch was seen.
	firstInterval = 5 * time.Second
)

// series is a cumulative sum of one reporter.
type series struct {
	edge     *edge
	resource *resource
	metric   metric
	reporter reporter

	value     int64
	start, at uint64 // as the sender says, in ns since the epoch
	arrived   int64  // our clock, in ns since the epoch

	// The last two increases, and how long each took in ns: their quotient is the rate now.
	increases [2]int64
	gaps      [2]int64
}

// resource is a sender: the agent of a node.
type resource struct {
	at, previous uint64 // of its last two batches
	serviceSeen  int64  // when it last sent the service set, in ns since the epoch
	arrived      int64
}

// gap is how long the sender collected what it sends now.
func (r *resource) gap() int64 {
	if r.previous == 0 || r.at <= r.previous {
		return int64(firstInterval)
	}
	return int64(r.at - r.previous)
}

// fieldOf is where a measure's increases are added up.
func fieldOf(m measure, r reporter) (f field, kept bool) {
	switch m {
	case sent:
		return sentBytes.of(r), true
	case received:
		return receivedBytes.of(r), true
	case opened:
		return openedConnections.of(r), true
	case failed:
		return failedConnects, true
	case retransmitted:
		return resentSegments, true
	case lost:
		return lostSegments, true
	}
	return 0, false
}

// isSecond says that the workload set repeats what the same sender's service set says.
func (s *series) isSecond(now int64) bool {
	return s.metric.set == workloadSet && s.metric.measure <= failed &&
		s.resource.serviceSeen != 0 && now-s.resource.serviceSeen < int64(3*time.Minute)
}

// take adds a point of the series.
func (g *Graph) take(s *series, start, at uint64, value, now int64) {
	first := s.at == 0
	if s.metric.measure == active {
		s.value, s.start, s.at, s.arrived = value, start, at, now
		if value > 0 {
			g.touch(s.edge, now)
		}
		return
	}
	var increase int64
	var gap int64
	switch {
	case first:
		if at >= start && at-start <= uint64(newFor) {
			increase, gap = value, int64(at-start)
		}
	case start > s.start:
		increase, gap = value, int64(at-min(at, max(start, s.at)))
	case at <= s.at:
		return // again, or out of order
	case value >= s.value:
		increase, gap = value-s.value, int64(at-s.at)
	}
	s.value, s.start, s.at, s.arrived = value, start, at, now
	gap = max(gap, s.resource.gap(), int64(time.Millisecond))
	if first && value == 0 {
		return // the zero at the start, ahead of the first value
	}
	s.increases[1], s.gaps[1] = s.increases[0], s.gaps[0]
	s.increases[0], s.gaps[0] = increase, gap
	if increase <= 0 || s.isSecond(now) {
		return
	}
	g.touch(s.edge, now)
	f, kept := fieldOf(s.metric.measure, s.reporter)
	if h := s.edge.history; h != nil && kept {
		end := now
		if late := now - int64(at); late >= 0 && late <= int64(lateBy) {
			end = int64(at)
		}
		h.spread(f, float64(increase), end-gap, end, g.settings.step())
	}
}

// rate is the increase per second over the last two points, 0 when points stopped to arrive.
func (s *series) rate(now int64) float64 {
	gap := s.gaps[0] + s.gaps[1]
	if gap == 0 || now-s.arrived > 3*s.gaps[0]+int64(5*time.Second) {
		return 0
	}
	return float64(s.increases[0]+s.increases[1]) / time.Duration(gap).Seconds()
}

// end forgets a series.
func (g *Graph) end(key seriesKey, s *series) {
	delete(g.series, key)
	e := s.edge
	if i := slices.Index(e.series, s); i >= 0 {
		e.series = slices.Delete(e.series, i, i+1)
	}
	if len(e.series) == 0 && !e.isLive {
		g.drop(e)
	}
}
