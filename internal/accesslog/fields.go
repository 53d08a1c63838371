// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"strconv"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// field is an attribute of a record. One of text, number and format gives its value.
type field struct {
	name string
	body func(*record) bool // whether the body has it, too; nil: never
	// optional fields are absent while their value is unknown.
	optional bool

	text   func(*record) string              // a string that exists already
	number func(*record) int64               //
	format func(to []byte, r *record) []byte // appends a string that is made for the record
}

// fields are all fields, in the contract's order, at most maxFields. To add one, add it here.
var fields = []field{
	{name: "src.addr", body: always, format: func(to []byte, r *record) []byte { return r.connection.Source.AppendTo(to) }},
	{name: "src.workload", body: always, text: func(r *record) string { return r.source.pod }},
	{name: "src.namespace", body: always, text: func(r *record) string { return r.source.namespace }},
	{name: "dst.addr", body: always, format: func(to []byte, r *record) []byte { return r.connection.Destination.AppendTo(to) }},
	{name: "dst.service", body: always, text: func(r *record) string { return r.flow.DestinationService() }},
	{name: "dst.workload", body: always, text: func(r *record) string { return r.destination.pod }},
	{name: "dst.namespace", body: always, text: func(r *record) string { return r.destination.namespace }},
	{name: "direction", body: always, text: func(r *record) string { return r.connection.Direction.String() }},
	{name: "sent_bytes", body: always, number: func(r *record) int64 { return r.connection.Total[flow.Sent] }},
	{name: "received_bytes", body: always, number: func(r *record) int64 { return r.connection.Total[flow.Received] }},
	{name: "duration", body: always, format: func(to []byte, r *record) []byte { return append(to, r.connection.Duration.String()...) }},
	{name: "event", body: unlessClosed, text: func(r *record) string { return r.event.String() }},
	{name: "start_time", format: func(to []byte, r *record) []byte { return r.seconds.append(to, r.connection.Start) }},
	{name: "state", text: func(r *record) string { return r.connection.State.String() }},
	{name: "retransmissions", number: func(r *record) int64 { return r.connection.Total[flow.Retransmits] }},
	{name: "packet_loss", number: func(r *record) int64 { return r.connection.Total[flow.Lost] }},
	{name: "srtt", optional: true, format: func(to []byte, r *record) []byte { return appendMeasured(to, r.connection.SRTT) }},
	{name: "min_rtt", optional: true, format: func(to []byte, r *record) []byte { return appendMeasured(to, r.connection.MinRTT) }},
	{name: "close_reason", optional: true, text: closeReason},
	{name: "error.type", body: always, optional: true, text: errorType},
	{name: "src.identity", optional: true, text: func(r *record) string { return r.source.Principal }},
	{name: "dst.identity", optional: true, text: func(r *record) string { return r.destination.Principal }},
	{name: "src.cluster", optional: true, text: func(r *record) string { return r.source.Cluster }},
	{name: "dst.cluster", optional: true, text: func(r *record) string { return r.destination.Cluster }},
	{name: "connection.id", format: func(to []byte, r *record) []byte { return strconv.AppendUint(to, r.connection.ID, 16) }},
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

// appendMeasured appends a time that the kernel measures in µs; 0: not measured.
func appendMeasured(to []byte, d time.Duration) []byte {
	if d = d.Round(time.Microsecond); d > 0 {
		to = append(to, d.String()...)
	}
	return to
}
