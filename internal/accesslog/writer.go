// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/kmesh-net/otelcol-kmesh/internal/fields"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Writer writes flows as access log records, batch by batch. It is not safe for concurrent use.
type Writer struct {
	events   selector
	resource pcommon.Resource
	scope    pcommon.InstrumentationScope
	size     int
	full     func(plog.Logs, int)

	batch   plog.Logs
	records plog.LogRecordSlice
	line    *fields.Line // the record at hand
}

// NewWriter returns a Writer that passes every batch of size records to full, which then owns it. Resource and scope are
// copied into every batch, and must not change.
func NewWriter(settings Settings, resource pcommon.Resource, scope pcommon.InstrumentationScope,
	size int, full func(batch plog.Logs, records int),
) *Writer {
	w := &Writer{
		resource: resource, scope: scope, size: max(size, 1), full: full,
		line: fields.NewLine(settings.use()),
	}
	w.events = selector{Settings: settings, write: w.write}
	w.begin()
	return w
}

func (w *Writer) begin() {
	w.batch = plog.NewLogs()
	resource := w.batch.ResourceLogs().AppendEmpty()
	w.resource.CopyTo(resource.Resource())
	scope := resource.ScopeLogs().AppendEmpty()
	w.scope.CopyTo(scope.Scope())
	w.records = scope.LogRecords()
}

// Add writes a record of each selected event of the flow, which it does not keep.
func (w *Writer) Add(f *flow.Flow, _ time.Time) { w.events.add(f) }

// Flush passes on the records that wait for their batch to fill.
func (w *Writer) Flush() {
	if n := w.records.Len(); n > 0 {
		batch := w.batch
		w.begin()
		w.full(batch, n)
	}
}

// write writes one record.
func (w *Writer) write(event fields.Event, at time.Time, f *flow.Flow) {
	w.line.Fill(event, f)
	r := w.records.AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(at))
	r.SetObservedTimestamp(pcommon.NewTimestampFromTime(f.Observed))
	r.SetEventName(event.Name())
	if warns(event, f.Connection.Reason) {
		r.SetSeverityNumber(plog.SeverityNumberWarn)
		r.SetSeverityText("WARN")
	} else {
		r.SetSeverityNumber(plog.SeverityNumberInfo)
		r.SetSeverityText("INFO")
	}
	if !w.events.NoBody {
		r.Body().SetStr(w.line.Body())
	}
	w.line.CopyTo(r.Attributes())
	r.SetTraceID(f.Connection.Trace.ID)
	r.SetSpanID(f.Connection.SpanID())
	r.SetFlags(plog.DefaultLogRecordFlags.WithIsSampled(true))
	if w.records.Len() >= w.size {
		w.Flush()
	}
}

// warns returns whether somebody should look at the connection.
func warns(event fields.Event, reason flow.CloseReason) bool {
	return event == fields.Failed || reason == flow.ReasonReset || reason == flow.ReasonTimeout
}
