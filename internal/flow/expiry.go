// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// fate is what becomes of a series in a snapshot.
type fate uint8

const (
	keepHidden fate = iota
	showLive
	showEnded
	forget
)

// step moves a series through its life: hidden, living, ended, forgotten.
//
// It ends only after its last value was delivered, and is forgotten only after its end was: a value or a mark that a
// downstream refused is in the next snapshot again.
func (s *series) step(m moment) fate {
	if s.hidden {
		if m.elapsed < s.visible {
			return keepHidden
		}
		s.hidden = false
		s.fresh = m.id
		return showLive
	}
	if s.ended != 0 {
		if s.ended <= m.delivered {
			return forget
		}
		return showEnded
	}
	idle := m.idle > 0 && m.elapsed-s.active > m.idle
	if (s.final || idle) && s.fresh <= m.delivered {
		s.ended = m.id
		return showEnded
	}
	return showLive
}

// EndGone ends the series of the service and workload sets that name a workload which present no longer knows, as
// soon as their last values are delivered.  It walks all series: call it when workloads went, not per record.
func (a *Aggregator) EndGone(present func(unique.Handle[identity.Names]) bool) {
	endGone(&a.service, a.settings.Networks, present)
	endGone(&a.workload, a.settings.Networks, present)
}

// named is a key that tells who is at its ends.
type named interface {
	labelled
	ends() [2]unique.Handle[identity.Names]
}

func endGone[K named](s *set[K], networks *identity.Networks, present func(unique.Handle[identity.Names]) bool) {
	for key, e := range s.byKey { // without the overflow series, which names nobody
		for _, end := range key.ends() {
			if end != unknownNames && !networks.Named(end) && !present(end) {
				e.final = true
			}
		}
	}
}
