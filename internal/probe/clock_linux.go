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
	offset int64 // CLOCK_REALTIME less CLOCK_BOOTTIME, ns
}

// Wall gives the time on the wall of a CLOCK_BOOTTIME in ns.
func (c Clock) Wall(boot uint64) time.Time {
	return time.Unix(0, int64(boot)+c.offset).UTC()
}

// readClock measures the offset anew: a step of the wall clock changes it.
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
