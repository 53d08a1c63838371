// SPDX-License-Identifier: Apache-2.0

package flow

import "iter"

// Parts gives the snapshot in parts of at most n series, all living series before all ended ones, so that one flush
// of many series need not be in memory as a whole.  The parts share the ID and the time.
func (s *Snapshot) Parts(n int) iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		part, room := &Snapshot{ID: s.ID, At: s.At}, n
		for _, stretch := range stretches {
			for points := *stretch(s); len(points) > 0; {
				taken := min(room, len(points))
				*stretch(part) = points[:taken:taken]
				points = points[taken:]
				if room -= taken; room > 0 {
					continue
				}
				if !yield(part) {
					return
				}
				part, room = &Snapshot{ID: s.ID, At: s.At}, n
			}
		}
		if !part.Empty() {
			yield(part)
		}
	}
}

// stretches are the lists of points in the order of delivery.
var stretches = []func(*Snapshot) *[]Point{
	func(s *Snapshot) *[]Point { return &s.Service.Live },
	func(s *Snapshot) *[]Point { return &s.Workload.Live },
	func(s *Snapshot) *[]Point { return &s.Connection.Live },
	func(s *Snapshot) *[]Point { return &s.Service.Ended },
	func(s *Snapshot) *[]Point { return &s.Workload.Ended },
	func(s *Snapshot) *[]Point { return &s.Connection.Ended },
}
