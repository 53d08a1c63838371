// SPDX-License-Identifier: Apache-2.0

package fields

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Use is what a field is for.
type Use uint8

// The uses. They add up.
const (
	Log     Use = 1 << iota // the access log
	Span                    // spans
	TCPInfo                 // either, with the details of tcp_info
	Sum                     // the access log's sums over connections

	each  = Log | Span // every record of one connection
	every = each | Sum
)

// field is an attribute of a record. One of text, number and format gives its value.
type field struct {
	name string
	use  Use
	body func(*record) bool // whether the body has it, too; nil: never
	// prefix is what is before the value in the body, the separator from the field before included.
	prefix string
	// optional fields are absent while their value is unknown.
	optional bool

	text   func(*record) string              // a string that exists already
	number func(*record) int64               //
	format func(to []byte, r *record) []byte // appends a string that is made for the record
}

// fields are all fields, in the contract's order; a record has at most maxFields. To add one, add it here.
var fields = []field{
	{name: "src.addr", use: each, body: always, format: func(to []byte, r *record) []byte { return r.connection.Source.AppendTo(to) }},
	{name: "src.workload", use: every, body: always, text: func(r *record) string { return r.source.pod }},
	{name: "src.namespace", use: every, body: always, text: func(r *record) string { return r.source.namespace }},
	{name: "dst.addr", use: each, body: always, format: func(to []byte, r *record) []byte { return r.connection.Destination.AppendTo(to) }},
	{name: "dst.service", use: every, body: always, text: func(r *record) string { return r.flow.DestinationService() }},
	{name: "dst.workload", use: every, body: always, text: func(r *record) string { return r.destination.pod }},
	{name: "dst.namespace", use: every, body: always, text: func(r *record) string { return r.destination.namespace }},
	{name: "direction", use: Log | Sum, body: always, text: func(r *record) string { return r.connection.Direction.String() }},
	{name: "sent_bytes", use: every, body: always, number: func(r *record) int64 { return r.connection.Total[flow.Sent] }},
	{name: "received_bytes", use: every, body: always, number: func(r *record) int64 { return r.connection.Total[flow.Received] }},
	{name: "duration", use: Log, body: always, format: func(to []byte, r *record) []byte { return append(to, r.connection.Duration.String()...) }},
	{name: "event", use: every, body: unlessClosed, text: func(r *record) string { return r.event.String() }},
	{name: "start_time", use: Log | Sum, format: func(to []byte, r *record) []byte { return r.seconds.append(to, r.connection.Start) }},
	{name: "state", use: each, text: func(r *record) string { return r.connection.State.String() }},
	{name: "retransmissions", use: every, number: func(r *record) int64 { return r.connection.Total[flow.Retransmits] }},
	{name: "packet_loss", use: every, number: func(r *record) int64 { return r.connection.Total[flow.Lost] }},
	{name: "srtt", use: each, optional: true, format: func(to []byte, r *record) []byte { return appendMeasured(to, r.connection.SRTT) }},
	{name: "min_rtt", use: each, optional: true, format: func(to []byte, r *record) []byte { return appendMeasured(to, r.connection.MinRTT) }},
	{name: "close_reason", use: every, optional: true, text: closeReason},
	{name: "error.type", use: Log, body: always, optional: true, text: errorType},
	{name: "src.identity", use: every, optional: true, text: func(r *record) string { return r.source.principal }},
	{name: "dst.identity", use: every, optional: true, text: func(r *record) string { return r.destination.principal }},
	{name: "src.cluster", use: every, optional: true, text: func(r *record) string { return r.source.cluster }},
	{name: "dst.cluster", use: every, optional: true, text: func(r *record) string { return r.destination.cluster }},
	{name: "connection.id", use: each, format: func(to []byte, r *record) []byte { return strconv.AppendUint(to, r.connection.ID, 16) }},
	{name: "connect_duration", use: each, optional: true, format: connectDuration},
	{name: "connections", use: Sum, body: always, number: func(r *record) int64 { return r.connection.Total[flow.Opened] + r.connection.Total[flow.Closed] }},
	{name: "duration_sum", use: Sum, body: always, format: func(to []byte, r *record) []byte { return append(to, r.connection.Duration.String()...) }},
	{name: "error.type", use: Span, optional: true, text: problem},
	{name: "network.transport", use: Span, text: func(*record) string { return "tcp" }},
	{name: "network.type", use: Span, text: func(r *record) string { return networkType(r.connection.Destination.Addr()) }},
	{name: "client.address", use: Span, format: func(to []byte, r *record) []byte { return r.connection.Source.Addr().AppendTo(to) }},
	{name: "client.port", use: Span, number: func(r *record) int64 { return int64(r.connection.Source.Port()) }},
	{name: "server.address", use: Span, format: func(to []byte, r *record) []byte { return r.flow.Requested().Addr().AppendTo(to) }},
	{name: "server.port", use: Span, number: func(r *record) int64 { return int64(r.flow.Requested().Port()) }},

	detail("tcp.snd_cwnd", func(d *flow.TCPInfo) uint32 { return d.SndCwnd }),
	detail("tcp.snd_ssthresh", func(d *flow.TCPInfo) uint32 { return d.SndSsthresh }),
	detail("tcp.mss", func(d *flow.TCPInfo) uint32 { return d.MSS }),
	detail("tcp.segs_in", func(d *flow.TCPInfo) uint32 { return d.SegsIn }),
	detail("tcp.segs_out", func(d *flow.TCPInfo) uint32 { return d.SegsOut }),
	detail("tcp.data_segs_in", func(d *flow.TCPInfo) uint32 { return d.DataSegsIn }),
	detail("tcp.data_segs_out", func(d *flow.TCPInfo) uint32 { return d.DataSegsOut }),
	detail("tcp.delivered", func(d *flow.TCPInfo) uint32 { return d.Delivered }),
	detail("tcp.delivered_ce", func(d *flow.TCPInfo) uint32 { return d.DeliveredCE }),
	detail("tcp.dsack_dups", func(d *flow.TCPInfo) uint32 { return d.DSACKDups }),
	detail("tcp.reordering", func(d *flow.TCPInfo) uint32 { return d.Reordering }),
	detail("tcp.rate_delivered", func(d *flow.TCPInfo) uint32 { return d.RateDelivered }),
	detail("tcp.rate_interval_us", func(d *flow.TCPInfo) uint32 { return d.RateIntervalUs }),
	detail("tcp.icsk_retransmits", func(d *flow.TCPInfo) uint32 { return d.ICSKRetransmits }),
}

// detail is a field of the kernel's tcp_info.
func detail(name string, of func(*flow.TCPInfo) uint32) field {
	return field{name: name, use: TCPInfo, number: func(r *record) int64 { return int64(of(&r.connection.TCPInfo)) }}
}

// separator is between the fields of the body.
const separator = ", "

// used returns the fields of a use, in order.
func used(use Use) (all []field) {
	for _, f := range fields {
		if f.use&use == 0 {
			continue
		}
		if use&(Log|Sum) == 0 {
			f.body = nil
		}
		f.prefix = separator + f.name + "="
		all = append(all, f)
	}
	return all
}

// maxFields is the size of the set of the fields that a record has.
const maxFields = 64

func always(*record) bool { return true }

// unlessClosed keeps the body of a plain close the line that Kmesh writes; no other event can be taken for one.
func unlessClosed(r *record) bool { return r.event != Closed }

func closeReason(r *record) string {
	if r.event != Closed {
		return ""
	}
	return r.connection.Reason.String()
}

func errorType(r *record) string {
	if r.event != Failed {
		return ""
	}
	return r.connection.ErrorType
}

// problem returns why a connection failed or did not end well.
func problem(r *record) string {
	switch {
	case r.event == Failed:
		return r.connection.ErrorType
	case r.connection.Reason == flow.ReasonReset:
		return flow.ErrorReset
	case r.connection.Reason == flow.ReasonTimeout:
		return flow.ErrorTimedOut
	}
	return ""
}

func networkType(a netip.Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// connectDuration appends the time from the first SYN to ESTABLISHED, which the OUTBOUND end knows.
func connectDuration(to []byte, r *record) []byte {
	if d := r.connection.Connect; d > 0 {
		to = append(to, d.String()...)
	}
	return to
}

// appendMeasured appends a time that the kernel measures in µs; 0: not measured.
func appendMeasured(to []byte, d time.Duration) []byte {
	if d = d.Round(time.Microsecond); d > 0 {
		to = append(to, d.String()...)
	}
	return to
}
