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

	// Total is what the kernel counted since open.
	Total Counters

	// Delta is what this report adds to the reports before it.  One may be negative: a FIN is counted as a byte for
	// a moment in an open socket, and is taken back by the report of the close.
	Delta Counters

	SRTT, MinRTT time.Duration // 0: not measured

	State     State
	Reason    CloseReason // how it closed; ReasonNone while open and on EventFailed
	ErrorType string      // on EventFailed, one of the Error constants or an errno's name; else ""
}
