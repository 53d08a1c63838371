// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// series is what a set holds for one key.  It lives until it was idle for long or is final; then it is marked as
// ended, and forgotten when a snapshot with that mark was delivered.
type series struct {
	attributes pcommon.Map  // built once, never changed
	failure    bool         // of failed connects
	held       []netip.Addr // unknown ones that the attributes say

	start   int64    // ns since the epoch; 0: nothing counted yet
	sum     Counters // may fall by a byte when a delta is negative
	emitted Counters // the highest sums that a snapshot held: what is emitted never falls

	fresh  uint64        // the first snapshot that holds, or will hold, the present sum
	ended  uint64        // the first snapshot that marks it as ended; 0: it lives
	active time.Duration // since the aggregator's epoch: when it was last added to
	final  bool          // ends as soon as its last value is delivered
	hidden bool          // not to be shown before visible
	// visible is, since the epoch, when the connection is old enough to be shown.
	visible time.Duration
}

// renew starts a series anew that was marked as ended.
func (s *series) renew() {
	*s = series{attributes: s.attributes, failure: s.failure, held: s.held}
}

// point is what a snapshot tells of a living series.
func (s *series) point() Point {
	s.emitted.Raise(s.sum)
	return Point{Attributes: s.attributes, Start: pcommon.Timestamp(s.start), Values: s.emitted, Failure: s.failure}
}
