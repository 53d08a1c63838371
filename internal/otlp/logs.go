package otlp

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// eventName is followed by the event: kmesh.tcp.connection.closed.
const eventName = "kmesh.tcp.connection."

// Logs writes named flows as access log records, batch by batch.  It is a flow.LogSink.
type Logs struct {
	settings Settings
	size     int
	full     func(plog.Logs, int)

	batch   plog.Logs
	records plog.LogRecordSlice
	fields  []field // of the record at hand
	body    []byte  // likewise
}

// NewLogs makes a Logs that hands every batch of size records to full, which then owns it.
func NewLogs(settings Settings, size int, full func(batch plog.Logs, records int)) *Logs {
	l := &Logs{settings: settings, size: max(size, 1), full: full}
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
	l.fields = appendFields(l.fields[:0], event, f)
	l.body = appendBody(l.body[:0], event, l.fields)

	r := l.records.AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(at))
	r.SetObservedTimestamp(pcommon.NewTimestampFromTime(f.Observed))
	r.SetEventName(eventName + event.String())
	if warns(event, f.Connection.Reason) {
		r.SetSeverityNumber(plog.SeverityNumberWarn)
		r.SetSeverityText("WARN")
	} else {
		r.SetSeverityNumber(plog.SeverityNumberInfo)
		r.SetSeverityText("INFO")
	}
	r.Body().SetStr(string(l.body))
	attributes := r.Attributes()
	attributes.EnsureCapacity(len(l.fields))
	for i := range l.fields {
		if f := &l.fields[i]; f.isNumber {
			attributes.PutInt(f.key, f.number)
		} else {
			attributes.PutStr(f.key, f.text)
		}
	}
	if l.records.Len() >= l.size {
		l.Flush()
	}
}

// warns says whether somebody should look at the connection.
func warns(event flow.LogEvent, reason flow.CloseReason) bool {
	return event == flow.LogFailed || reason == flow.ReasonReset || reason == flow.ReasonTimeout
}
