// SPDX-License-Identifier: Apache-2.0

package series

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// addConnection keeps the series of one connection end, which is shown when the connection is old enough, and ends with
// it.
//
// Its values are the end's totals since Start. A young connection is held, hidden: it may be idle, and so report no more,
// by the time it is old enough. At the limit an end counts once, at its close, in the overflow series.
func (s *Sets) addConnection(f *flow.Flow, now time.Time) {
	c := f.Connection
	if c.ID == 0 || c.Event == flow.EventFailed {
		return
	}
	key, closed := connectionKey{c.ID}, c.Event == flow.EventClosed
	wait := s.settings.ConnectionMinDuration - c.Duration // until it is old enough
	one := s.connection.find(key)
	if closed && wait > 0 && (one == nil || one.hidden) {
		s.connection.discard(key)
		return
	}
	switch {
	case one != nil:
	case !s.connection.full(ownerOf(f)):
		one = s.connection.insert(key, connectionAttributes(f, s.traits(f, noFlags), s.connection.choice, s.settings.SecurityPolicy))
		s.connection.own(key, ownerOf(f))
		one.hidden = wait > 0
		one.visible = now.Add(wait).Sub(s.epoch)
	case closed:
		s.connection.refused++
		s.touch(s.connection.overflowSeries(), c.Total, now)
		return
	default:
		return
	}
	if closed {
		one.hidden = false
		one.final = true
	}
	if one.start == 0 {
		one.start = min(c.Start.UnixNano(), s.clock.begin(now))
	}
	one.sum = c.Total
	if one.base != nil {
		for i, before := range one.base {
			one.sum[i] -= before
		}
	}
	s.touch(one, flow.Counters{}, now)
}
