// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Snapshot is the state of all series at one moment.  It shares only the attributes with the Aggregator, which
// nobody changes, so it may be read on any goroutine.
type Snapshot struct {
	ID uint64 // for Delivered
	At pcommon.Timestamp

	Service    Points
	Workload   Points
	Connection Points
}

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
	Values     Counters
	// Failure says that the series is one of failed connects.
	Failure bool
}

// Empty says that there is nothing to deliver.
func (s *Snapshot) Empty() bool {
	for _, p := range []*Points{&s.Service, &s.Workload, &s.Connection} {
		if len(p.Live) > 0 || len(p.Ended) > 0 {
			return false
		}
	}
	return true
}

// Snapshot takes the state of all series.  Tell Delivered when it was; the next snapshot repeats the marks of ended
// series of one that was not.  A snapshot must not be delivered after a newer one.
func (a *Aggregator) Snapshot(now time.Time) *Snapshot {
	id, at := a.clock.snapshot(now)
	m := moment{id: id, delivered: a.clock.delivered, elapsed: now.Sub(a.epoch), idle: a.settings.SeriesExpiration}
	a.pending = a.counted
	return &Snapshot{
		ID:         id,
		At:         pcommon.Timestamp(at),
		Service:    a.service.snapshot(m),
		Workload:   a.workload.snapshot(m),
		Connection: a.connection.snapshot(m),
	}
}

// Delivered says that the next consumer took the snapshot with this ID.
func (a *Aggregator) Delivered(id uint64) {
	if id <= a.clock.delivered || id >= a.clock.next {
		return // an older one than was delivered already, or none of ours
	}
	a.clock.delivered = id
	if id == a.clock.next-1 {
		a.stats.Exported = a.pending
	}
}
