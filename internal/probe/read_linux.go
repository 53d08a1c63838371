// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Clock turns a record's times into those on the wall. It is measured at the start
// of every Read and Sweep.
func (p *Probe) Clock() Clock {
	return p.clock
}

// Read hands over the ends that closed, until the time `until`. The programs do not
// wake it for a record, only when the ring fills: it sleeps till `until` and then
// takes all that is there. The record is valid only during the call of handle.
func (p *Probe) Read(until time.Time, handle func(*Record)) error {
	p.clock = p.clock.next(systemTime)
	return p.drain(p.ends, until, handle)
}

// drain reads a ring until the time, and then what is there at that moment and no more: producers that are as fast as
// the reader must not keep it here.
func (p *Probe) drain(ring *ringbuf.Reader, until time.Time, handle func(*Record)) error {
	const courtesy = 16 // records between two offers of the processor
	ring.SetDeadline(until)
	left := -1 // records that were there when the time came; negative: it has not
	for n := 1; left != 0; n++ {
		if err := ring.ReadInto(&p.buffer); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		p.counts.Read++
		left--
		if err := decode(p.buffer.RawSample, &p.decoded); err != nil {
			p.counts.Malformed++
		} else {
			handle(&p.decoded)
		}
		if n%courtesy != 0 {
			continue
		}
		if left < 0 && !time.Now().Before(until) {
			left = p.unread(ring)
		}
		// A reading is some milliseconds at once. An application that wakes meanwhile would wait for the end of our time
		// slice: let it go first, unless so much has piled up that records may be lost.
		if ring.AvailableBytes() < ring.BufferSize()/4 {
			_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // it cannot fail
		}
	}
	return nil
}

// unread is how many records are in a ring.
func (p *Probe) unread(ring *ringbuf.Reader) int {
	const header = 8 // of each
	size := shortRecord
	if p.detail {
		size = recordSize
	}
	return ring.AvailableBytes() / (size + header)
}
