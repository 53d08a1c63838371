// SPDX-License-Identifier: Apache-2.0

package series

import (
	"time"
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// entry is a series with its place in the set.
type entry[K comparable] struct {
	series
	key   K
	index int
}

// set holds series by key, at most limit of them; what it refuses goes to one overflow series.
type set[K comparable] struct {
	choice   *choice
	limit    int
	byKey    map[K]*entry[K]
	entries  []*entry[K] // dense: a flush walks all of them
	overflow *entry[K]   // one of entries; nil until the limit was reached
	refused  uint64      // flows that the limit, or the share of a workload, refused
	evicted  uint64      // series that ended early to make room
	pressure pressure
	owned    map[unique.Handle[identity.Names]]int
	values   valueCounts // of the labels, without the overflow series

	addresses *addresses // in the labels of all sets
}

func newSet[K comparable](choice *choice, limit int, unknowns *addresses) set[K] {
	return set[K]{choice: choice, limit: limit, byKey: make(map[K]*entry[K]), owned: make(map[unique.Handle[identity.Names]]int), values: make(valueCounts), addresses: unknowns}
}

// find returns the series of key if there is one, begun anew if it was ended; else nil.
func (s *set[K]) find(key K) *series {
	e := s.byKey[key]
	if e == nil {
		return nil
	}
	if e.ended != 0 {
		e.renew()
	}
	return &e.series
}

// labelled is a key that becomes attributes.
type labelled interface {
	comparable
	attributes(c *choice, policy string) pcommon.Map
}

// get returns the series of key, a new one when there is none, or the overflow series at the limit.
func get[K labelled](s *set[K], key K, reserved *reservation, t traits, policy string) *series {
	if found := s.find(key); found != nil {
		return found
	}
	if s.full(reserved.owner) {
		s.refused++
		s.pressure.refused = true
		return s.overflowSeries()
	}
	made := s.insert(key, key.attributes(s.choice, policy))
	made.failure = t.flags != noFlags
	made.held = reserved.held()
	s.addresses.hold(made.held, reserved.owner)
	s.own(key, reserved.owner)
	return made
}

// full returns whether another key of the owner must go to the overflow series, which itself counts for the limit.
func (s *set[K]) full(owner unique.Handle[identity.Names]) bool {
	return len(s.byKey) >= s.limit-1 || crowded(len(s.byKey), s.owned[owner], s.limit)
}

// own makes a workload the owner of the series of key.
func (s *set[K]) own(key K, owner unique.Handle[identity.Names]) {
	s.byKey[key].owner = owner
	s.owned[owner]++
}

// insert adds a series for a key that has none; the set must not be full.
func (s *set[K]) insert(key K, attributes pcommon.Map) *series {
	e := &entry[K]{key: key, series: series{attributes: attributes}}
	s.byKey[key] = e
	s.values.add(attributes)
	s.append(e)
	return &e.series
}

// overflowSeries returns the overflow series.
func (s *set[K]) overflowSeries() *series {
	if s.overflow == nil {
		s.overflow = &entry[K]{series: series{attributes: overflowAttributes()}}
		s.append(s.overflow)
	} else if s.overflow.ended != 0 {
		s.overflow.renew()
	}
	return &s.overflow.series
}

func (s *set[K]) append(e *entry[K]) {
	e.index = len(s.entries)
	s.entries = append(s.entries, e)
}

// remove removes e; the last entry takes its place.
func (s *set[K]) remove(e *entry[K]) {
	s.addresses.release(e.held)
	last := len(s.entries) - 1
	moved := s.entries[last]
	s.entries[e.index] = moved
	moved.index = e.index
	s.entries[last] = nil
	s.entries = s.entries[:last]
	if e == s.overflow {
		s.overflow = nil
		return
	}
	delete(s.byKey, e.key)
	s.values.remove(e.attributes)
	if s.owned[e.owner]--; s.owned[e.owner] <= 0 {
		delete(s.owned, e.owner)
	}
}

// discard removes the series of key, which no snapshot ever contained.
func (s *set[K]) discard(key K) {
	if e := s.byKey[key]; e != nil {
		s.remove(e)
	}
}

// moment is that of a snapshot.
type moment struct {
	id         uint64        // of the snapshot
	delivered  uint64        // the newest snapshot that was delivered
	elapsed    time.Duration // since the sets' epoch
	expiration time.Duration // how long a series may be idle; 0: for ever
	zeros      bool          // a series starts with a point of value 0
	addresses  bool          // the places of unknown addresses are taken
	pressed    bool          // the places of the set are taken
}

// snapshot returns the points of all series, and removes those that are over.
func (s *set[K]) snapshot(m moment) Points {
	points := Points{Live: make([]Point, 0, len(s.entries))}
	pressed := s.pressure.at(m.id, m.delivered) && s.limit >= leastShared
	for i := 0; i < len(s.entries); {
		e := s.entries[i]
		m.pressed = e != s.overflow && (pressed || m.addresses && len(e.held) > 0)
		switch e.step(m) {
		case phaseLive:
			points.Live = append(points.Live, e.point(m))
		case phaseEnded:
			if e.ended == m.id && e.evicted {
				s.evicted++
			}
			points.Ended = append(points.Ended, e.point(m))
		case phaseOver:
			s.remove(e) // another entry is at i now
			continue
		}
		i++
	}
	return points
}
