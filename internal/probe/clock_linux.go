// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock turns the kernel's CLOCK_BOOTTIME, which goes on while the machine is
// suspended and never steps, into the time on the wall.
type Clock struct {
	offset int64     // CLOCK_REALTIME less CLOCK_BOOTTIME, ns
	now    time.Time // when that was measured, with Go's monotonic clock
	asleep int64     // CLOCK_BOOTTIME less CLOCK_MONOTONIC, ns: how long the machine was suspended
	awake  int64     // CLOCK_BOOTTIME since which the machine was not suspended, as far as it is known; 0: always
}

// Wall gives the time on the wall of a CLOCK_BOOTTIME in ns, with a reading of Go's
// monotonic clock: a comparison with a time of this process survives a step of the wall
// clock. That clock stands still while the machine is suspended: a time from before that has no reading.
func (c Clock) Wall(boot uint64) time.Time {
	wall := int64(boot) + c.offset
	if c.now.IsZero() || int64(boot) < c.awake {
		return time.Unix(0, wall).UTC()
	}
	return c.now.Add(time.Duration(wall - c.now.UnixNano())) // UTC() would drop the reading
}

// suspended is how much the two clocks may differ by the time between their readings.
const suspended = int64(100 * time.Millisecond)

// next measures the offset anew: a step of the wall clock changes it.
func (c Clock) next(now func(clock int32) int64) Clock {
	fresh := readClock(now)
	boot := now(unix.CLOCK_BOOTTIME)
	fresh.now, fresh.asleep, fresh.awake = time.Now(), boot-now(unix.CLOCK_MONOTONIC), c.awake
	if !c.now.IsZero() && fresh.asleep-c.asleep > suspended {
		fresh.awake = boot
	}
	return fresh
}

// readClock measures the offset.
func readClock(now func(clock int32) int64) Clock {
	best := int64(1<<63 - 1)
	var offset int64
	// The narrowest of three brackets: an interruption between two readings would
	// shift every time stamp by its length.
	for range 3 {
		before := now(unix.CLOCK_BOOTTIME)
		wall := now(unix.CLOCK_REALTIME)
		width := now(unix.CLOCK_BOOTTIME) - before
		if width < best {
			best, offset = width, wall-before-width/2
		}
	}
	return Clock{offset: offset}
}

func systemTime(clock int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return time.Now().UnixNano()
	}
	return ts.Nano()
}
