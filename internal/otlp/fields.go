package otlp

import (
	"math"
	"strconv"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// field is an attribute of an access log record: a text, or a number.
type field struct {
	key      string
	text     string
	number   int64
	isNumber bool
}

func text(key, value string) field { return field{key: key, text: flow.Text(value)} }

// number writes a total; one that a signed integer cannot hold (9.2 EB) stays at its greatest.
func number(key string, value uint64) field {
	return field{key: key, number: int64(min(value, math.MaxInt64)), isNumber: true}
}

// appendFields lists the attributes of a record in the contract's order: eleven that are always there, then those
// that are known and have a meaning for the event.
func appendFields(to []field, event flow.LogEvent, f *flow.Flow) []field {
	c := f.Connection
	source, destination := podOf(f.Source), podOf(f.Destination)
	if f.Destination == nil && f.Service != nil {
		destination.namespace = f.Service.Namespace
	}
	to = append(to,
		text("src.addr", c.Source.String()),
		text("src.workload", source.name),
		text("src.namespace", source.namespace),
		text("dst.addr", c.Destination.String()),
		text("dst.service", f.DestinationService()),
		text("dst.workload", destination.name),
		text("dst.namespace", destination.namespace),
		text("direction", c.Direction.String()),
		number("sent_bytes", c.Sent),
		number("received_bytes", c.Received),
		text("duration", c.Duration.String()),

		text("event", event.String()),
		text("start_time", c.Start.UTC().Format(flow.StartTimeFormat)),
		text("state", c.State.String()),
		number("retransmissions", c.Retransmits),
		number("packet_loss", c.Lost),
	)
	// The kernel measures in µs.
	to = appendTime(to, "srtt", c.SRTT.Round(time.Microsecond))
	to = appendTime(to, "min_rtt", c.MinRTT.Round(time.Microsecond))
	if event == flow.LogClosed {
		to = appendKnown(to, "close_reason", c.Reason.String())
	}
	if event == flow.LogFailed {
		to = appendKnown(to, "error.type", c.ErrorType)
	}
	from, target := namesOf(f.Source), namesOf(f.Destination)
	to = appendKnown(to, "src.identity", from.Principal)
	to = appendKnown(to, "dst.identity", target.Principal)
	to = appendKnown(to, "src.cluster", from.Cluster)
	to = appendKnown(to, "dst.cluster", target.Cluster)
	// As `ss --extended` prints a socket's cookie.
	return append(to, text("connection.id", strconv.FormatUint(c.ID, 16)))
}

func appendTime(to []field, key string, d time.Duration) []field {
	if d <= 0 {
		return to // not measured
	}
	return append(to, text(key, d.String()))
}

func appendKnown(to []field, key, value string) []field {
	if value == "" || value == identity.Unknown {
		return to
	}
	return append(to, text(key, value))
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

// bodyFields are always in the body; they lead the attributes.
const bodyFields = 11

// bodyExtras are the attributes that the body has as well, and for which events.  A plain close is thus the line that
// Kmesh writes, and no other event can be taken for one.
var bodyExtras = []struct {
	key string
	in  func(flow.LogEvent) bool
}{
	{"event", func(e flow.LogEvent) bool { return e != flow.LogClosed }},
	{"error.type", func(e flow.LogEvent) bool { return e == flow.LogFailed }},
}

// appendBody writes `key=value, key=value`.
func appendBody(to []byte, event flow.LogEvent, fields []field) []byte {
	for i := range fields {
		f := &fields[i]
		if i >= bodyFields && !inBody(f.key, event) {
			continue
		}
		if i > 0 {
			to = append(to, ", "...)
		}
		to = append(to, f.key...)
		to = append(to, '=')
		if f.isNumber {
			to = strconv.AppendInt(to, f.number, 10)
		} else {
			to = append(to, f.text...)
		}
	}
	return to
}

func inBody(key string, event flow.LogEvent) bool {
	for _, extra := range bodyExtras {
		if extra.key == key {
			return extra.in(event)
		}
	}
	return false
}
