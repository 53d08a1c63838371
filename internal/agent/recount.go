// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import "time"

// A recount takes some collections, because a walk passes over a socket whose lock is taken. The next one waits a while: it goes
// over all open connections, and some kernels hide ends all the time.
const (
	recountCollections = 3
	recountPause       = 16 // collections, which is how often the probe looks for entries whose socket is gone
)

// recount lets the sinks count the open connections anew after the kernel hid the end of some from all programs: what is known
// of such an end is only that there is one.
type recount struct {
	settle   time.Duration // how long a record waits for names
	vanished uint64        // ends that the kernel hid before the last complete recount
	pause    int           // collections until the next one may begin

	since       time.Time // zero: none is under way
	collections int
	began       tally
	failed      bool // a reading failed
}

// tally is what had been counted at the last collection before the recount.
type tally struct{ vanished, lost, unfinished uint64 }

func (r *recount) underWay() bool { return !r.since.IsZero() }

// beginRecount begins a recount if it is time for one.
func (r *Agent) beginRecount() {
	c := &r.recount
	if c.pause > 0 {
		c.pause--
	}
	counted := r.tallied()
	if c.underWay() || c.pause > 0 || !r.needs.Recount || counted.vanished == c.vanished {
		return
	}
	c.since, c.collections, c.began, c.failed = time.Now(), 0, counted, false
	for _, s := range r.sinks {
		s.Recount(c.since)
	}
}

// endRecount ends the recount when all that was read of it has passed naming. It is not complete if a record was lost: its
// totals arrive, but not which end closed when. Nor is it if a walk left out ends because the ring had no room for them.
func (r *Agent) endRecount(now time.Time, err error) {
	c := &r.recount
	if !c.underWay() {
		return
	}
	c.collections++
	c.failed = c.failed || err != nil
	if c.collections < recountCollections || now.Sub(c.since) <= c.settle {
		return
	}
	counted := r.tallied()
	complete := !c.failed && counted.lost == c.began.lost && counted.unfinished == c.began.unfinished
	if complete {
		c.vanished = c.began.vanished
	}
	c.since, c.pause = time.Time{}, recountPause
	for _, s := range r.sinks {
		s.Recounted(now, complete)
	}
}

// tallied returns what had been counted at the last collection.
func (r *Agent) tallied() tally {
	stats := &r.newest.Load().Probe
	return tally{vanished: stats.Tally.Vanished, lost: stats.Tally.Lost, unfinished: stats.Counts.Unfinished}
}
