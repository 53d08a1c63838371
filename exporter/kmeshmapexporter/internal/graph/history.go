// SPDX-License-Identifier: Apache-2.0

package graph

import "time"

// field is what a slot of a history adds up. The first three are there for each reporter.
type field uint8

const (
	sentBytes field = iota
	receivedBytes
	openedConnections
	perReporter
)

const (
	failedConnects field = perReporter*reporters + iota
	resentSegments
	lostSegments
	connectSeconds
	connects
	roundTripSeconds
	roundTrips
	fields
)

// of gives the field of a reporter, for the first three.
func (f field) of(r reporter) field { return f + perReporter*field(r) }

// slot adds up what happened in one step.
type slot [fields]float32

// history is what an edge carried over the window, in a ring of slots.
type history struct {
	newest int64 // number of the newest slot, in steps since the epoch
	slots  [slotCount]slot
}

// slot gives the slot of a number, and makes room for a new one; nil if it is older than the history.
func (h *history) slot(number int64) *slot {
	if number > h.newest {
		if number-h.newest >= slotCount {
			h.slots = [slotCount]slot{}
		} else {
			for n := h.newest + 1; n <= number; n++ {
				h.slots[n%slotCount] = slot{}
			}
		}
		h.newest = number
	}
	if number <= h.newest-slotCount || number < 0 {
		return nil
	}
	return &h.slots[number%slotCount]
}

// read gives the slot of a number; nil if there is none.
func (h *history) read(number int64) *slot {
	if number > h.newest || number <= h.newest-slotCount || number < 0 {
		return nil
	}
	return &h.slots[number%slotCount]
}

// spread adds an amount that came evenly between two times, in ns since the epoch.
func (h *history) spread(f field, amount float64, from, to int64, step time.Duration) {
	length := int64(step)
	if to <= from {
		from = to - 1
	}
	whole := float64(to - from)
	for number := from / length; number <= (to-1)/length; number++ {
		begin, end := max(from, number*length), min(to, (number+1)*length)
		if s := h.slot(number); s != nil {
			s[f] += float32(amount * float64(end-begin) / whole)
		}
	}
}

// sum gives what a field has in the slots from a number on.
func (h *history) sum(f field, from int64) (total float64) {
	for number := max(from, h.newest-slotCount+1); number <= h.newest; number++ {
		if s := h.read(number); s != nil {
			total += float64(s[f])
		}
	}
	return total
}
