// SPDX-License-Identifier: Apache-2.0

package flow

import "iter"

// Counter is one of the numbers that the metrics are made of.
type Counter uint8

// The counters. Those of the kernel come first, in the order of struct counters in bpf/record.h.
const (
	Opened      Counter = iota // connections
	Sent                       // payload bytes
	Received                   // payload bytes
	Retransmits                // segments
	Lost                       // segments

	Closed // connections; it and what follows is counted by the kind of a record
	Failed // connections

	numCounters
)

// KernelCounters is how many counters are in the kernel's records.
const KernelCounters = int(Closed)

var counterNames = [numCounters]string{
	Opened: "opened", Sent: "sent", Received: "received", Retransmits: "retransmits", Lost: "lost",
	Closed: "closed", Failed: "failed",
}

// String returns the counter's name in self telemetry.
func (c Counter) String() string { return counterNames[c] }

// Counters are a value of each counter: a difference or a sum.
type Counters [numCounters]int64

// Add adds the counters of d to c.
func (c *Counters) Add(d Counters) {
	for i, n := range d {
		c[i] += n
	}
}

// Raise raises every counter of c to at least that of d.
func (c *Counters) Raise(d Counters) {
	for i, n := range d {
		c[i] = max(c[i], n)
	}
}

// All returns each counter with its value.
func (c *Counters) All() iter.Seq2[Counter, int64] {
	return func(yield func(Counter, int64) bool) {
		for i, n := range c {
			if !yield(Counter(i), n) {
				return
			}
		}
	}
}

// Ends returns the counters that count connections.
func (c *Counters) Ends() (opened, closed, failed int64) {
	return c[Opened], c[Closed], c[Failed]
}
