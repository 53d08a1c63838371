// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"strconv"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// key is an attribute of an access log record, by its place in the contract's order.
type key uint8

// The keys. The first eleven are in every record, and in its body.
const (
	sourceAddr key = iota
	sourceWorkload
	sourceNamespace
	destinationAddr
	destinationService
	destinationWorkload
	destinationNamespace
	direction
	sentBytes
	receivedBytes
	duration
	event
	startTime
	state
	retransmissions
	packetLoss
	srtt
	minRTT
	closeReason
	errorType
	sourceIdentity
	destinationIdentity
	sourceCluster
	destinationCluster
	connectionID
	keys = iota

	bodyKeys = event
)

var keyNames = [keys]string{
	"src.addr", "src.workload", "src.namespace", "dst.addr", "dst.service", "dst.workload", "dst.namespace", "direction",
	"sent_bytes", "received_bytes", "duration", "event", "start_time", "state", "retransmissions", "packet_loss",
	"srtt", "min_rtt", "close_reason", "error.type", "src.identity", "dst.identity", "src.cluster", "dst.cluster", "connection.id",
}

// field is an attribute: a number, a text of its own, or one that the line has between from and to.
type field struct {
	key      key
	isNumber bool
	text     string
	from, to int
	number   int64
}

// line is an access log record in the making: its attributes, and in one text its body and, behind that, what else was
// written for it. So a record's texts are one allocation.
type line struct {
	fields []field
	text   []byte
	body   int // length of the body

	// The second that was written last, as RFC 3339: most records are of the same.
	second int64
	prefix []byte
}

// fill makes the line of an event. The fields come in the order of their keys: eleven that are always there, then those that
// are known and have a meaning for the event.
func (l *line) fill(e flow.LogEvent, f *flow.Flow) {
	c := f.Connection
	source, destination := podOf(f.Source), podOf(f.Destination)
	if !f.Destination.Known() && f.Service != nil {
		destination.namespace = f.Service.Namespace
	}
	l.fields, l.text = l.fields[:0], l.text[:0]
	l.wrote(sourceAddr, func(to []byte) []byte { return c.Source.AppendTo(to) })
	l.named(sourceWorkload, source.name)
	l.named(sourceNamespace, source.namespace)
	l.wrote(destinationAddr, func(to []byte) []byte { return c.Destination.AppendTo(to) })
	l.named(destinationService, f.DestinationService())
	l.named(destinationWorkload, destination.name)
	l.named(destinationNamespace, destination.namespace)
	l.named(direction, c.Direction.String())
	l.counted(sentBytes, c.Total[flow.Sent])
	l.counted(receivedBytes, c.Total[flow.Received])
	l.wrote(duration, func(to []byte) []byte { return append(to, c.Duration.String()...) })
	// A plain close is the line that Kmesh writes, and no other event can be taken for one.
	if e != flow.LogClosed {
		l.say(event, e.String())
	}
	if e == flow.LogFailed && known(c.ErrorType) {
		l.say(errorType, c.ErrorType)
	}
	l.body = len(l.text)

	l.named(event, e.String())
	l.wrote(startTime, func(to []byte) []byte { return l.appendTime(to, c.Start) })
	l.named(state, c.State.String())
	l.counted(retransmissions, c.Total[flow.Retransmits])
	l.counted(packetLoss, c.Total[flow.Lost])
	// The kernel measures in µs.
	l.measured(srtt, c.SRTT.Round(time.Microsecond))
	l.measured(minRTT, c.MinRTT.Round(time.Microsecond))
	if e == flow.LogClosed {
		l.ifKnown(closeReason, c.Reason.String())
	}
	if e == flow.LogFailed {
		l.ifKnown(errorType, c.ErrorType)
	}
	from, target := namesOf(f.Source), namesOf(f.Destination)
	l.ifKnown(sourceIdentity, from.Principal)
	l.ifKnown(destinationIdentity, target.Principal)
	l.ifKnown(sourceCluster, from.Cluster)
	l.ifKnown(destinationCluster, target.Cluster)
	l.wrote(connectionID, func(to []byte) []byte { return strconv.AppendUint(to, c.ID, 16) })
}

// name begins a key's part of the body.
func (l *line) name(k key) {
	if len(l.text) > 0 {
		l.text = append(l.text, ", "...)
	}
	l.text = append(l.text, keyNames[k]...)
	l.text = append(l.text, '=')
}

// say writes to the body only.
func (l *line) say(k key, value string) {
	l.name(k)
	l.text = append(l.text, flow.Text(value)...)
}

// named adds a text that lives on its own.
func (l *line) named(k key, value string) {
	value = flow.Text(value)
	if k < bodyKeys {
		l.name(k)
		l.text = append(l.text, value...)
	}
	l.fields = append(l.fields, field{key: k, text: value})
}

// wrote adds a text that is made for this record.
func (l *line) wrote(k key, write func([]byte) []byte) {
	if k < bodyKeys {
		l.name(k)
	}
	from := len(l.text)
	l.text = write(l.text)
	l.fields = append(l.fields, field{key: k, from: from, to: len(l.text)})
}

// counted adds a total.
func (l *line) counted(k key, n int64) {
	if k < bodyKeys {
		l.name(k)
		l.text = strconv.AppendInt(l.text, n, 10)
	}
	l.fields = append(l.fields, field{key: k, isNumber: true, number: n})
}

func (l *line) measured(k key, d time.Duration) {
	if d > 0 {
		l.wrote(k, func(to []byte) []byte { return append(to, d.String()...) })
	}
}

func (l *line) ifKnown(k key, value string) {
	if known(value) {
		l.named(k, value)
	}
}

func known(value string) bool { return value != "" && value != identity.Unknown }

// appendTime writes a time as flow.StartTimeFormat does, in UTC.
func (l *line) appendTime(to []byte, t time.Time) []byte {
	if second := t.Unix(); second != l.second || l.prefix == nil {
		l.second = second
		l.prefix = t.UTC().AppendFormat(l.prefix[:0], "2006-01-02T15:04:05")
	}
	to = append(append(to, l.prefix...), '.')
	ns := t.Nanosecond()
	for digit := 100_000_000; digit > 0; digit /= 10 {
		to = append(to, byte('0'+ns/digit%10)) // #nosec G115 -- a digit
	}
	return append(to, 'Z')
}

// pod is who the access log says an end is.
type pod struct{ name, namespace string }

func podOf(w *identity.Workload) pod {
	if w == nil {
		return pod{identity.Unknown, identity.Unknown}
	}
	return pod{w.Name, w.Namespace}
}

func namesOf(w *identity.Workload) identity.Names {
	if w == nil {
		return identity.Names{}
	}
	return w.Names.Value()
}
