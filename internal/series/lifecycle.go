// SPDX-License-Identifier: Apache-2.0

package series

import (
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// phase is where a series is in its life, as of a snapshot.
type phase uint8

const (
	phaseHidden phase = iota
	phaseLive
	phaseEnded
	phaseOver // to be removed
)

// step moves a series through its life: hidden, live, ended, over.
//
// It ends only after its last value was delivered, and is removed only after its end was: a value or a mark that a
// consumer refused is in the next snapshot again.
func (s *series) step(m moment) phase {
	if s.hidden {
		if m.elapsed < s.visible {
			return phaseHidden
		}
		s.hidden = false
		s.fresh = m.id
		return phaseLive
	}
	if s.ended != 0 {
		if s.ended <= m.delivered {
			return phaseOver
		}
		return phaseEnded
	}
	// A connection that is open and idle will close: opened less closed must be right then, too.
	idle := m.expiration > 0 && m.elapsed-s.active > m.expiration && s.open <= 0
	// Room is made of what was used in one interval only: names that come once must not keep others out.
	unused := m.pressed && !s.reused && s.open <= 0
	if (s.final || idle || unused) && s.fresh <= m.delivered {
		s.evicted = !s.final && !idle
		s.ended = m.id
		return phaseEnded
	}
	return phaseLive
}

// EndGone ends the series of all sets but the connections' that name a workload which present no longer knows, as soon
// as their last values are delivered. It walks all series: call it when workloads went, not per record. Where a choice of
// labels made many workloads' names one, a series ends when it is idle.
func (s *Sets) EndGone(present func(unique.Handle[identity.Names]) bool) {
	endGone(&s.service, s.settings.Networks, present)
	endGone(&s.workload, s.settings.Networks, present)
	endGone(&s.istio, s.settings.Networks, present)
	endGone(&s.latency, s.settings.Networks, present)
}

// named is a key with who is at its ends.
type named interface {
	labelled
	ends() [2]unique.Handle[identity.Names]
}

func endGone[K named](s *set[K], networks *identity.Networks, present func(unique.Handle[identity.Names]) bool) {
	whole := [2]bool{s.choice.source.whole, s.choice.destination.whole}
	for key, e := range s.byKey { // without the overflow series, which names nobody
		for i, end := range key.ends() {
			if whole[i] && end != unknownNames && !networks.Named(end) && !present(end) {
				e.final = true
			}
		}
	}
}
