// SPDX-License-Identifier: Apache-2.0

package series

import "time"

// tick is the resolution of Prometheus: a series' start must be a whole tick before its first point, and after the
// mark that ended the series before it.
const tick = int64(time.Millisecond)

// stamps numbers snapshots and gives them and the series their times, in ns since the epoch. The times run
// backwards only where the wall clock was set back.
type stamps struct {
	next      uint64 // number of the next snapshot; the first is 1
	delivered uint64 // the newest snapshot that was delivered
	start     int64  // the latest start of a series
	at        int64  // the latest snapshot
}

// stepTolerance is how far the wall clock may fall behind the times: a clock that is slewed, or many snapshots at once.
const stepTolerance = time.Second

// steppedBack returns whether the wall clock was set back. It waits until all is delivered: a series that restarts begins
// with what was not.
func (s *stamps) steppedBack(now time.Time) bool {
	return s.at-now.UnixNano() > int64(stepTolerance) && s.delivered == s.next-1
}

// stepBack follows the wall clock. It returns when all series begin anew.
func (s *stamps) stepBack(now time.Time) int64 {
	s.start = now.UnixNano()
	s.at = s.start - tick
	return s.start
}

// begin returns the start time of a series whose first record was read at now.
func (s *stamps) begin(now time.Time) int64 {
	start := max(now.UnixNano(), s.at+tick)
	s.start = max(s.start, start)
	return start
}

// snapshot returns the number and the time of a snapshot that is taken at now.
func (s *stamps) snapshot(now time.Time) (uint64, int64) {
	id := s.next
	s.next++
	s.at = max(now.UnixNano(), s.start+tick, s.at+tick)
	return id, s.at
}
