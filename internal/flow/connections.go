// SPDX-License-Identifier: Apache-2.0

package flow

import "time"

// addConnection keeps the series of one connection end, which shows when the connection is old enough and ends with it.
//
// Its values are the end's totals since Start.  A young connection is held, unseen: it may rest, and so report no
// more, by the time it is old enough.  At the limit an end counts once, at its close, in the overflow series.
func (a *Aggregator) addConnection(f *Flow, now time.Time) {
	c := f.Connection
	if c.ID == 0 || c.Event == EventFailed {
		return
	}
	key, closed := connectionKey{c.ID}, c.Event == EventClosed
	wait := a.settings.ConnectionMinDuration - c.Duration // until it is old enough
	s := a.connection.find(key)
	if closed && wait > 0 && (s == nil || s.hidden) {
		a.connection.discard(key)
		return
	}
	switch {
	case s != nil:
	case !a.connection.full():
		s = a.connection.insert(key, connectionAttributes(f, a.traits(f, flagNone), a.settings.SecurityPolicy))
		s.hidden = wait > 0
		s.visible = now.Add(wait).Sub(a.epoch)
	case closed:
		a.connection.refused++
		a.touch(a.connection.beyond(), c.Total, now)
		return
	default:
		return
	}
	if closed {
		s.hidden = false
		s.final = true
	}
	if s.start == 0 {
		s.start = min(c.Start.UnixNano(), a.clock.begin(now))
	}
	s.sum = c.Total
	a.touch(s, Counters{}, now)
}
