// SPDX-License-Identifier: Apache-2.0

package series

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Snapshot is the state of all series at one moment. It shares only the attributes with the Sets, which nobody changes,
// so it may be read on any goroutine.
type Snapshot struct {
	id     uint64
	format *format
	At     pcommon.Timestamp
	before pcommon.Timestamp // of the snapshot before; 0: none

	Service    Points
	Workload   Points
	Connection Points
	Istio      Points
	Latency    Points
}

// ID is that for Sets.Delivered.
func (s *Snapshot) ID() uint64 { return s.id }

// Points are the series of one set.
type Points struct {
	Live []Point
	// Ended are series that are over; their last values were delivered before.
	Ended []Point
}

// Point is one series: a point of each metric that it has.
type Point struct {
	Attributes pcommon.Map // read only
	Start      pcommon.Timestamp
	Values     flow.Counters
	Failure    bool // the series is one of failed connects
	// Zero says that a point of value 0 at Start comes first, because none was delivered: Prometheus knows no start times,
	// and rate() needs a value to start from.
	Zero    bool
	latency *latencyPoint
	first   uint8 // a bit for each counter that counts for the first time
}

// startsNow returns whether the series has the metric for the first time, although others are older.
func (p *Point) startsNow(m *metric) bool {
	return (m.counter == flow.Failed) != p.Failure && p.first&(1<<m.counter) != 0
}

// Empty returns whether there is nothing to deliver.
func (s *Snapshot) Empty() bool {
	for _, p := range []*Points{&s.Service, &s.Workload, &s.Connection, &s.Istio, &s.Latency} {
		if len(p.Live) > 0 || len(p.Ended) > 0 {
			return false
		}
	}
	return true
}

// Snapshot takes the state of all series. Call Delivered when it was delivered: the next snapshot repeats the marks of
// ended series of one that was not. A snapshot must not be delivered after a newer one.
func (s *Sets) Snapshot(now time.Time) *Snapshot {
	if s.clock.steppedBack(now) {
		s.restart(s.clock.stepBack(now))
	}
	before := s.clock.at
	id, at := s.clock.snapshot(now)
	m := moment{
		id: id, delivered: s.clock.delivered, elapsed: now.Sub(s.epoch), expiration: s.settings.Expiration,
		zeros: s.settings.InitialZero, addresses: s.addresses.pressure.at(id, s.clock.delivered) && s.addresses.limit >= leastShared,
	}
	s.pending = s.counted
	return &Snapshot{
		id:         id,
		format:     s.format,
		At:         pcommon.Timestamp(at),
		before:     pcommon.Timestamp(before),
		Service:    s.service.snapshot(m),
		Workload:   s.workload.snapshot(m),
		Connection: s.connection.snapshot(m),
		Istio:      s.istio.snapshot(m),
		Latency:    s.latency.snapshot(m),
	}
}

// restart lets all series begin anew.
func (s *Sets) restart(start int64) {
	s.service.restart(start)
	s.workload.restart(start)
	s.connection.restart(start)
	s.istio.restart(start)
	s.latency.restart(start)
}

func (s *set[K]) restart(start int64) {
	for _, e := range s.entries {
		e.restart(start)
	}
}

// Delivered reports that the next consumer accepted the snapshot with this ID.
func (s *Sets) Delivered(id uint64) {
	if id <= s.clock.delivered || id >= s.clock.next {
		return // an older one than was delivered already, or none of ours
	}
	s.clock.delivered = id
	if id == s.clock.next-1 {
		s.stats.Exported = s.pending
	}
}
