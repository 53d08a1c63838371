// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// eventName names a record: kmesh.tcp.connection.closed.
func eventName(event flow.LogEvent) string {
	switch event {
	case flow.LogOpened:
		return "kmesh.tcp.connection.opened"
	case flow.LogPeriodic:
		return "kmesh.tcp.connection.periodic"
	case flow.LogFailed:
		return "kmesh.tcp.connection.failed"
	default:
		return "kmesh.tcp.connection.closed"
	}
}

// Logs writes named flows as access log records, batch by batch.  It is a flow.LogSink.
type Logs struct {
	settings Settings
	size     int
	full     func(plog.Logs, int)

	batch   plog.Logs
	records plog.LogRecordSlice
	line    line // the record at hand
	// The keys of each set of fields that was met, without values: a copy of them costs less than to put each key, which
	// looks for it among all that are there.
	shapes map[uint32]pcommon.Map
}

// NewLogs makes a Logs that hands every batch of size records to full, which then owns it.
func NewLogs(settings Settings, size int, full func(batch plog.Logs, records int)) *Logs {
	l := &Logs{settings: settings, size: max(size, 1), full: full, shapes: make(map[uint32]pcommon.Map)}
	l.begin()
	return l
}

func (l *Logs) begin() {
	l.batch = plog.NewLogs()
	resource := l.batch.ResourceLogs().AppendEmpty()
	l.settings.Resource.CopyTo(resource.Resource())
	scope := resource.ScopeLogs().AppendEmpty()
	scope.Scope().SetName(ScopeName)
	scope.Scope().SetVersion(l.settings.Version)
	l.records = scope.LogRecords()
}

// Flush hands over the records that wait for their batch to fill.
func (l *Logs) Flush() {
	if n := l.records.Len(); n > 0 {
		batch := l.batch
		l.begin()
		l.full(batch, n)
	}
}

// Log implements flow.LogSink.
func (l *Logs) Log(event flow.LogEvent, at time.Time, f *flow.Flow) {
	l.line.fill(event, f)
	text := string(l.line.text)

	r := l.records.AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(at))
	r.SetObservedTimestamp(pcommon.NewTimestampFromTime(f.Observed))
	r.SetEventName(eventName(event))
	if warns(event, f.Connection.Reason) {
		r.SetSeverityNumber(plog.SeverityNumberWarn)
		r.SetSeverityText("WARN")
	} else {
		r.SetSeverityNumber(plog.SeverityNumberInfo)
		r.SetSeverityText("INFO")
	}
	r.Body().SetStr(text[:l.line.body])
	attributes := r.Attributes()
	l.shape().CopyTo(attributes)
	i := 0
	for _, value := range attributes.All() {
		switch f := &l.line.fields[i]; {
		case f.isNumber:
			value.SetInt(f.number)
		case f.to > 0:
			value.SetStr(text[f.from:f.to])
		default:
			value.SetStr(f.text)
		}
		i++
	}
	if l.records.Len() >= l.size {
		l.Flush()
	}
}

// shape gives the line's keys, each with an empty value.
func (l *Logs) shape() pcommon.Map {
	var keys uint32
	for i := range l.line.fields {
		keys |= 1 << l.line.fields[i].key
	}
	shape, met := l.shapes[keys]
	if !met {
		shape = pcommon.NewMap()
		shape.EnsureCapacity(len(l.line.fields))
		for i := range l.line.fields {
			shape.PutEmpty(keyNames[l.line.fields[i].key])
		}
		l.shapes[keys] = shape
	}
	return shape
}

// warns says whether somebody should look at the connection.
func warns(event flow.LogEvent, reason flow.CloseReason) bool {
	return event == flow.LogFailed || reason == flow.ReasonReset || reason == flow.ReasonTimeout
}
