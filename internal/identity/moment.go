// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"math"
	"time"
)

// moment is a time in ns since the process began. It follows the monotonic clock where a time has a reading of it, so that a
// step of the wall clock moves no tenure.
type moment int64

const (
	always moment = math.MinInt64 // before everything
	never  moment = math.MaxInt64
)

var processBegan = time.Now()

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return always
	}
	return moment(t.Sub(processBegan))
}

// momentSeen places a time that another clock wrote on the time line of now.
func momentSeen(t, now time.Time) moment {
	if t.IsZero() {
		return always
	}
	return momentOf(now).add(t.Sub(now))
}

// add does not overflow.
func (m moment) add(d time.Duration) moment {
	sum := m + moment(d)
	switch {
	case d > 0 && sum < m:
		return never
	case d < 0 && sum > m:
		return always
	}
	return sum
}

// since is the time from o to m.
func (m moment) since(o moment) time.Duration {
	d := m - o
	switch {
	case m > o && d < 0:
		return math.MaxInt64
	case m < o && d > 0:
		return math.MinInt64
	}
	return time.Duration(d)
}
