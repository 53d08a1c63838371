// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Connection is one report of one connection end: what the probe read, decoded.
//
// Source is always the side that opened the connection, so an Inbound end has its own address in Destination.
type Connection struct {
	ID        uint64 // the same on every record of one end; 0 on EventRecovered
	Event     Event
	Direction Direction

	Source      netip.AddrPort
	Destination netip.AddrPort // where the packets go, as far as the socket knows: see Translator
	Original    netip.AddrPort // what the application asked for; invalid when nothing rewrote it

	Local identity.Process // of the end whose socket was read

	Start    time.Time     // wall clock: when the end began to connect, or was accepted
	At       time.Time     // wall clock: the event's own time
	Previous time.Time     // wall clock: the report before this one; zero when this is the first
	Duration time.Duration // from Start to the close, or to At while open

	// Opened says that this is the first report of an end that reached ESTABLISHED while we watched, be it even the
	// report of its close.  An end that is older than the receiver is never Opened.
	Opened bool

	// Totals since open.
	Sent, Received    uint64 // payload bytes
	Retransmits, Lost uint64 // segments

	// Delta is what this report adds to the reports before it.  One may be negative: a FIN is counted as a byte for
	// a moment in an open socket, and is taken back by the report of the close.
	Delta Counters

	SRTT, MinRTT time.Duration // 0: not measured

	State     State
	Reason    CloseReason // how it closed; ReasonNone while open and on EventFailed
	ErrorType string      // on EventFailed, one of the Error constants or an errno's name; else ""
}

// Counters are the numbers of the metrics, as a delta or as a sum.
type Counters struct {
	Opened, Closed, Failed int64 // connections
	Sent, Received         int64 // payload bytes
	Retransmits, Lost      int64 // segments
}

// Add adds the counters of d to c.
func (c *Counters) Add(d Counters) {
	c.Opened += d.Opened
	c.Closed += d.Closed
	c.Failed += d.Failed
	c.Sent += d.Sent
	c.Received += d.Received
	c.Retransmits += d.Retransmits
	c.Lost += d.Lost
}

// raise lifts every counter of c to at least that of d.
func (c *Counters) raise(d Counters) {
	c.Opened = max(c.Opened, d.Opened)
	c.Closed = max(c.Closed, d.Closed)
	c.Failed = max(c.Failed, d.Failed)
	c.Sent = max(c.Sent, d.Sent)
	c.Received = max(c.Received, d.Received)
	c.Retransmits = max(c.Retransmits, d.Retransmits)
	c.Lost = max(c.Lost, d.Lost)
}
