// SPDX-License-Identifier: Apache-2.0

package series

import (
	"time"

	"github.com/lightstep/go-expohisto/structure"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// The histograms of a series of the latency set.
const (
	connectDuration = iota
	connectionDuration
	roundTrip
	numHistograms

	activeConnections = -1 // in place of a histogram
)

// latency is what a series of the latency set holds.
type latency struct {
	histograms [numHistograms]histogram
	active     int64
}

// histogram counts seconds.
type histogram struct {
	values   *structure.Float64 // nil: none
	exemplar *exemplar          // the slowest since the last snapshot
	copy     *structure.Float64 // in snapshots, until another value comes
}

// exemplar is a value with the connection end that it is of.
type exemplar struct {
	seconds float64
	at      time.Time
	trace   [16]byte
	span    [8]byte
}

func (h *histogram) observe(d time.Duration, c *flow.Connection, maxSize int) {
	if h.values == nil {
		h.values = structure.NewFloat64(structure.NewConfig(structure.WithMaxSize(int32(maxSize))))
	}
	seconds := d.Seconds()
	h.values.Update(seconds)
	h.copy = nil
	if h.exemplar == nil || h.exemplar.seconds < seconds {
		h.exemplar = &exemplar{seconds: seconds, at: c.At, trace: c.Trace.ID, span: c.SpanID()}
	}
}

// point returns what a snapshot holds of the series.
func (l *latency) point() *latencyPoint {
	if l == nil {
		return nil
	}
	p := &latencyPoint{active: l.active}
	for i := range l.histograms {
		h := &l.histograms[i]
		if h.values == nil {
			continue
		}
		if h.copy == nil {
			h.copy = structure.NewFloat64(structure.NewConfig())
			h.values.CopyInto(h.copy)
		}
		p.histograms[i] = histogramPoint{h.copy, h.exemplar}
		h.exemplar = nil
	}
	return p
}

// addLatency counts what a report says about time.
func (s *Sets) addLatency(f *flow.Flow, now time.Time) {
	c := f.Connection
	if c.Event == flow.EventFailed {
		return
	}
	opened, closes := c.Delta[flow.Opened], c.Delta[flow.Closed]
	if c.ID != 0 && !c.Opened && c.Previous.Before(s.began) { // of an end that was open before, and that is new here
		opened++
	}
	active := opened - closes
	var values [numHistograms]time.Duration
	if c.Opened && c.Direction == flow.Outbound {
		values[connectDuration] = c.Connect
	}
	closed := c.Event == flow.EventClosed
	if closed && c.Total[flow.Opened] > 0 { // nobody knows when an older one began
		values[connectionDuration] = c.Duration - c.Connect
	}
	if closed || c.Event == flow.EventOpen && c.Delta != (flow.Counters{}) {
		values[roundTrip] = c.SRTT
	}
	idle := active == 0 && values == ([numHistograms]time.Duration{})
	if idle && s.recount.change(opened, closes) == 0 {
		return
	}
	traits := s.latency.choice.reduce(s.traits(f, noFlags))
	reserved := reservation{addresses: s.addresses, owner: ownerOf(f)}
	key := serviceKeyOf(f, traits, s.latency.choice, &reserved)
	if idle {
		s.latency.see(key)
		return
	}
	one := get(&s.latency, key, &reserved, traits, s.settings.SecurityPolicy)
	s.use(one, now)
	if one.latency == nil {
		one.latency = new(latency)
	}
	moved := s.closedPastTheLimit(one, active, now)
	one.latency.active += active + moved
	s.countOpen(one, opened, closes)
	one.open += moved
	one.missed -= moved
	for i, d := range values {
		if d > 0 {
			one.latency.histograms[i].observe(d, c, s.settings.HistogramSize)
		}
	}
}

// closedPastTheLimit takes out of the overflow series those connections that it counted when they opened, and that close
// now that their own series found room. It returns how many.
func (s *Sets) closedPastTheLimit(own *series, active int64, now time.Time) int64 {
	e := s.latency.overflow
	if e == nil || own == &e.series || e.latency == nil || active >= 0 {
		return 0
	}
	n := min(e.latency.active, -(own.latency.active + active))
	if n <= 0 {
		return 0
	}
	s.use(&e.series, now)
	e.latency.active -= n
	e.open -= n
	e.missed += n
	return n
}
