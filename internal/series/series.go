// SPDX-License-Identifier: Apache-2.0

package series

import (
	"net/netip"
	"time"
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// series is what a set holds for one key. It lives until it expires or is final; then it is marked as ended, and removed
// when a snapshot with that mark was delivered.
type series struct {
	attributes pcommon.Map  // built once, never changed
	failure    bool         // of failed connects
	held       []netip.Addr // unknown ones in the attributes

	latency *latency // of the latency set, which has no counters

	start   int64          // ns since the epoch; 0: nothing counted yet
	sum     flow.Counters  // may fall by a byte when a delta is negative
	base    *flow.Counters // of the totals of a connection, what was emitted before a restart; nil: nothing
	emitted flow.Counters  // the highest sums in a snapshot: what is emitted never falls

	owner unique.Handle[identity.Names] // the workload whose end it was made for

	open   int64  // connections of it that are open, as far as their reports show
	missed int64  // of a recount: the ends that were seen open less those that open has
	zeroed uint64 // the first snapshot with the zero that it starts at; 0: none yet

	fresh   uint64        // the first snapshot that contains, or will contain, the present sum
	ended   uint64        // the first snapshot that marks it as ended; 0: it lives
	active  time.Duration // since the sets' epoch: when it was last added to
	began   uint64        // the first snapshot that contains, or will contain, it
	evicted bool          // ended early to make room
	reused  bool          // counted for a later snapshot, too
	final   bool          // ends as soon as its last value is delivered
	hidden  bool          // not in snapshots before visible
	// visible is, since the epoch, when the connection is old enough for a snapshot.
	visible time.Duration
}

// renew starts a series anew that was marked as ended.
func (s *series) renew() {
	*s = series{attributes: s.attributes, failure: s.failure, held: s.held, owner: s.owner}
}

// restart lets the series begin anew at start, with what no delivered snapshot holds. All that one held must be in
// emitted.
func (s *series) restart(start int64) {
	if s.start == 0 {
		return
	}
	if s.latency != nil { // a histogram goes on
		s.start = min(s.start, start)
		return
	}
	s.start = start
	if s.ended != 0 {
		return
	}
	if s.base == nil {
		s.base = new(flow.Counters)
	}
	s.base.Add(s.emitted)
	for i := range s.sum {
		s.sum[i] -= s.emitted[i]
	}
	s.emitted = flow.Counters{}
	s.zeroed = 0
}

// point returns the series as it is in a snapshot.
func (s *series) point(m moment) Point {
	p := Point{Attributes: s.attributes, Start: pcommon.Timestamp(s.start), Failure: s.failure, latency: s.latency.point()}
	if m.zeros && (s.zeroed == 0 || s.zeroed > m.delivered) {
		if s.zeroed == 0 {
			s.zeroed = m.id
		}
		p.Zero = true
	}
	for i, n := range s.sum {
		if m.zeros && s.emitted[i] == 0 && n > 0 {
			p.first |= 1 << i
		}
	}
	s.emitted.Raise(s.sum)
	p.Values = s.emitted
	return p
}
