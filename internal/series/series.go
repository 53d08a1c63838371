// SPDX-License-Identifier: Apache-2.0

package series

import (
	"net/netip"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// series is what a set holds for one key. It lives until it expires or is final; then it is marked as ended, and removed
// when a snapshot with that mark was delivered.
type series struct {
	attributes pcommon.Map  // built once, never changed
	failure    bool         // of failed connects
	held       []netip.Addr // unknown ones in the attributes

	start   int64         // ns since the epoch; 0: nothing counted yet
	sum     flow.Counters // may fall by a byte when a delta is negative
	emitted flow.Counters // the highest sums in a snapshot: what is emitted never falls

	fresh  uint64        // the first snapshot that contains, or will contain, the present sum
	ended  uint64        // the first snapshot that marks it as ended; 0: it lives
	active time.Duration // since the sets' epoch: when it was last added to
	final  bool          // ends as soon as its last value is delivered
	hidden bool          // not in snapshots before visible
	// visible is, since the epoch, when the connection is old enough for a snapshot.
	visible time.Duration
}

// renew starts a series anew that was marked as ended.
func (s *series) renew() {
	*s = series{attributes: s.attributes, failure: s.failure, held: s.held}
}

// point returns the series as it is in a snapshot.
func (s *series) point() Point {
	s.emitted.Raise(s.sum)
	return Point{Attributes: s.attributes, Start: pcommon.Timestamp(s.start), Values: s.emitted, Failure: s.failure}
}
