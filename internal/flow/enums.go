// SPDX-License-Identifier: Apache-2.0

package flow

// Direction tells which end of the connection was read.
type Direction uint8

// The two ends.
const (
	Outbound Direction = iota // the end that called connect
	Inbound                   // the end that was accepted
)

// String gives the access log's spelling.
func (d Direction) String() string {
	if d == Inbound {
		return "INBOUND"
	}
	return "OUTBOUND"
}

// Event is what a record tells of its end.
type Event uint8

// The events of records.
const (
	EventOpen   Event = iota // a report of an open connection
	EventClosed              // its close; no record of this end follows
	EventFailed              // a connect that never reached ESTABLISHED
	// EventRecovered is an aggregate of ends whose own records were lost when the ring buffer was full.  It holds
	// addresses, Local and Delta; it has no ID and no totals, and is never logged.
	EventRecovered
)

// State is the TCP state, of which the contract knows two.
type State uint8

// The states.
const (
	StateEstablished State = iota
	StateClose
)

// String gives the kernel's name, which Kmesh's access log uses.
func (s State) String() string {
	if s == StateClose {
		return "BPF_TCP_CLOSE"
	}
	return "BPF_TCP_ESTABLISHED"
}

// CloseReason is how a connection ended.
type CloseReason uint8

// The reasons.
const (
	ReasonNone    CloseReason = iota // not closed, or not known
	ReasonFIN                        // both sides finished
	ReasonReset                      // the peer sent RST
	ReasonTimeout                    // the peer answered no more
	ReasonAbort                      // this end gave up: RST sent, or data left unread
)

// String gives the access log's spelling; "" for ReasonNone.
func (r CloseReason) String() string {
	switch r {
	case ReasonFIN:
		return "fin"
	case ReasonReset:
		return "reset"
	case ReasonTimeout:
		return "timeout"
	case ReasonAbort:
		return "abort"
	default:
		return ""
	}
}

// Why a connect failed, for Connection.ErrorType.  Any other reason is its errno's name.
const (
	ErrorConnectionRefused  = "connection_refused"
	ErrorTimedOut           = "timed_out"
	ErrorHostUnreachable    = "host_unreachable"
	ErrorNetworkUnreachable = "network_unreachable"
	ErrorReset              = "reset"
	ErrorCancelled          = "cancelled"
)
