// SPDX-License-Identifier: Apache-2.0

package series

import "iter"

// parts returns the snapshot in parts of at most n series, all living series before all ended ones, so that one flush
// of many series need not be in memory as a whole.
func (s *Snapshot) parts(n int) iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		part, room := &Snapshot{id: s.id, format: s.format, At: s.At, before: s.before}, n
		for _, list := range pointLists {
			for points := *list(s); len(points) > 0; {
				taken := min(room, len(points))
				*list(part) = points[:taken:taken]
				points = points[taken:]
				if room -= taken; room > 0 {
					continue
				}
				if !yield(part) {
					return
				}
				part, room = &Snapshot{id: s.id, format: s.format, At: s.At, before: s.before}, n
			}
		}
		if !part.Empty() {
			yield(part)
		}
	}
}

// pointLists are a snapshot's, in the order of delivery.
var pointLists = []func(*Snapshot) *[]Point{
	func(s *Snapshot) *[]Point { return &s.Service.Live },
	func(s *Snapshot) *[]Point { return &s.Workload.Live },
	func(s *Snapshot) *[]Point { return &s.Connection.Live },
	func(s *Snapshot) *[]Point { return &s.Istio.Live },
	func(s *Snapshot) *[]Point { return &s.Latency.Live },
	func(s *Snapshot) *[]Point { return &s.Service.Ended },
	func(s *Snapshot) *[]Point { return &s.Workload.Ended },
	func(s *Snapshot) *[]Point { return &s.Connection.Ended },
	func(s *Snapshot) *[]Point { return &s.Istio.Ended },
	func(s *Snapshot) *[]Point { return &s.Latency.Ended },
}
