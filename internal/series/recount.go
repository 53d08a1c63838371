// SPDX-License-Identifier: Apache-2.0

package series

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// recount is under way while the ends that were open at one moment are counted anew, because the kernel hid the close of some.
//
// Each series has what it counted as open at that moment less what is seen of it. Reports of earlier events may still arrive,
// and those of later ones change the series as ever, so the difference is corrected with each report.
type recount struct {
	since time.Time // zero: none is under way
	sight sight     // of the report at hand
}

// sight is what a report shows about the moment of a recount.
type sight uint8

const (
	sightNone   sight = iota // later than the first report, or of an end that began later
	sightBefore              // the report itself is from before
	sightOpen                // the first report since then of an end that was open
)

// of returns what a report shows.
func (r *recount) of(c *flow.Connection) sight {
	switch {
	case r.since.IsZero():
		return sightNone
	case c.At.Before(r.since):
		return sightBefore
	case c.ID == 0, c.Event == flow.EventFailed, !c.Start.Before(r.since), !c.Previous.Before(r.since):
		return sightNone
	default:
		return sightOpen
	}
}

// change returns what a report adds to the difference of a series that it opens and closes connections of.
func (r *recount) change(opened, closed int64) int64 {
	switch r.sight {
	case sightBefore:
		return closed - opened
	case sightOpen:
		return 1 - opened
	default:
		return 0
	}
}

// Recount begins to count the ends anew that are open at since. All reports of later events follow it, and all open ends are
// reported.
func (s *Sets) Recount(since time.Time) {
	s.recount.since = since
	opened := func(one *series) int64 { return one.open }
	s.service.recount(opened)
	s.workload.recount(opened)
	s.istio.recount(opened)
	s.latency.recount(opened)
	s.connection.recount(func(*series) int64 { return 1 }) // each is one end; the overflow series counts only those that are over
}

// Recounted ends a recount. If it is complete, ends that were not seen are no longer open.
func (s *Sets) Recounted(now time.Time, complete bool) {
	s.recount = recount{}
	if !complete {
		return
	}
	corrected := func(one *series) {
		one.open += one.missed
		if one.latency != nil {
			one.latency.active += one.missed
		}
		s.use(one, now)
	}
	s.service.recounted(corrected)
	s.workload.recounted(corrected)
	s.istio.recounted(corrected)
	s.latency.recounted(corrected)
	s.connection.recounted(func(one *series) {
		overflow := s.connection.overflow
		one.final = one.final || one.missed < 0 && (overflow == nil || one != &overflow.series)
	})
}

func (s *set[K]) recount(opened func(*series) int64) {
	for _, e := range s.entries {
		e.missed = -opened(&e.series)
	}
}

func (s *set[K]) recounted(correct func(*series)) {
	for _, e := range s.entries {
		if e.missed != 0 && e.ended == 0 {
			correct(&e.series)
		}
		e.missed = 0
	}
}

// see counts an open end whose report changes no counter. Past the limit it is in the overflow series.
func (s *set[K]) see(key K) {
	e := s.byKey[key]
	if e == nil {
		e = s.overflow
	}
	if e != nil && e.ended == 0 {
		e.missed++
	}
}

// see counts an open end that is idle, in the sets of counters. Nobody must make room for it.
func (s *Sets) see(f *flow.Flow) {
	all, owner, pressure := s.traits(f, noFlags), ownerOf(f), s.addresses.pressure
	defer func() { s.addresses.pressure = pressure }()
	if s.Holds(Service) {
		reserved := reservation{addresses: s.addresses, owner: owner}
		s.service.see(serviceKeyOf(f, s.service.choice.reduce(all), s.service.choice, &reserved))
	}
	if s.Holds(Workload) {
		reserved := reservation{addresses: s.addresses, owner: owner}
		s.workload.see(workloadKeyOf(f, s.workload.choice.reduce(all), s.workload.choice, &reserved))
	}
	if s.Holds(Istio) {
		reserved := reservation{owner: owner}
		s.istio.see(serviceKeyOf(f, s.istio.choice.reduce(istioTraits(all, f.Connection)), s.istio.choice, &reserved))
	}
}
