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
	Destination netip.AddrPort // where the packets go, as far as the socket knows: see naming.Translator
	Original    netip.AddrPort // what the application asked for; invalid when nothing rewrote it

	// Redirected is what an Inbound end's process was told that the client asked for, before a redirect on this host; invalid
	// when it did not ask. It may be a lie of that process.
	Redirected netip.AddrPort

	Local identity.Process // of the end whose socket was read
	Netns identity.Netns   // of that socket

	Start    time.Time     // wall clock: when the end began to connect, or was accepted
	At       time.Time     // wall clock: the event's own time
	Previous time.Time     // wall clock: the report before this one; zero when this is the first
	Duration time.Duration // from Start to the close, or to At while open

	// Opened is true on the first report of an end that reached ESTABLISHED while the probe ran, even if that is the report
	// of its close. An end that is older than the probe is never Opened.
	Opened bool

	// Total is what the kernel counted since open.
	Total Counters

	// Delta is what this report adds to the reports before it. A counter may be negative: a FIN is counted as a byte for a
	// moment in an open socket, and subtracted by the report of the close.
	Delta Counters

	SRTT, MinRTT time.Duration // 0: not measured

	State     State
	Reason    CloseReason // how it closed; ReasonNone while open and on EventFailed
	ErrorType string      // on EventFailed, one of the Error constants or an errno's name; else ""

	// ClientISN and ServerISN are the initial sequence numbers, which both ends have in common: see Tracer.
	// Both are 0 on EventFailed and EventRecovered.
	ClientISN, ServerISN uint32
	// Trace is made of them, or of random bits where they are not known. It is zero on EventRecovered, and where no sink
	// needs it.
	Trace Trace

	// Connect is the time from the first SYN to ESTABLISHED on an Outbound end; 0: not known.
	Connect time.Duration

	// TCPInfo is all zeros unless the probe was asked for it.
	TCPInfo TCPInfo
}

// Pair is what both ends of the connection have in common: their initial sequence numbers. 0: they are not known.
func (c *Connection) Pair() uint64 { return key(c.ClientISN, c.ServerISN) }

// TCPInfo is the rest of what the kernel's struct bpf_tcp_sock has, as at the event.
type TCPInfo struct {
	SndCwnd, SndSsthresh, MSS                 uint32
	SegsIn, SegsOut, DataSegsIn, DataSegsOut  uint32
	Delivered, DeliveredCE, DSACKDups         uint32
	Reordering, RateDelivered, RateIntervalUs uint32
	ICSKRetransmits                           uint32
}

// SpanID returns the id of this end's span.
func (c *Connection) SpanID() [8]byte {
	if c.Direction == Inbound {
		return c.Trace.Server
	}
	return c.Trace.Client
}
