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

	sums    *aggregator // nil: each event has its own record
	sumLine *fields.Line
	now     time.Time // of the flow at hand
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
	if settings.Aggregate > 0 {
		w.sums, w.sumLine = newAggregator(), fields.NewLine(fields.Sum)
		w.events.write = w.sum
	}
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

// Add writes a record of each selected event of the flow, which it does not keep, or adds it to its flow's sums.
func (w *Writer) Add(f *flow.Flow, now time.Time) {
	w.now = now
	w.events.add(f)
}

// Flush passes on the records that wait for their batch to fill, and the sums whose interval is over.
func (w *Writer) Flush(now time.Time) {
	if w.sums != nil && w.sums.due(now, w.events.Aggregate) {
		w.sums.take(w.writeSum)
	}
	w.flush()
}

// flushAll passes on everything, the sums of an interval that is not over included.
func (w *Writer) flushAll() {
	if w.sums != nil {
		w.sums.take(w.writeSum)
	}
	w.flush()
}

func (w *Writer) flush() {
	if n := w.records.Len(); n > 0 {
		batch := w.batch
		w.begin()
		w.full(batch, n)
	}
}

// write writes the record of one event.
func (w *Writer) write(event fields.Event, at time.Time, f *flow.Flow) {
	r := w.record(w.line, event, at, f)
	r.SetEventName(event.Name())
	r.SetTraceID(f.Connection.Trace.ID)
	r.SetSpanID(f.Connection.SpanID())
	r.SetFlags(plog.DefaultLogRecordFlags.WithIsSampled(true))
	w.flushFull()
}

// sum adds an event to its flow's sums. Whoever looks for the reason of a failure needs the connection itself.
func (w *Writer) sum(event fields.Event, at time.Time, f *flow.Flow) {
	if event == fields.Failed {
		w.write(event, at, f)
		return
	}
	if w.sums.add(event, at, f, w.now) {
		w.sums.take(w.writeSum)
	}
}

// writeSum writes the record of a flow's sums.
func (w *Writer) writeSum(event fields.Event, f *flow.Flow) {
	w.record(w.sumLine, event, f.Connection.At, f).SetEventName(event.SumName())
	w.flushFull()
}

// record begins a record with what all have.
func (w *Writer) record(line *fields.Line, event fields.Event, at time.Time, f *flow.Flow) plog.LogRecord {
	line.Fill(event, f)
	r := w.records.AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(at))
	r.SetObservedTimestamp(pcommon.NewTimestampFromTime(f.Observed))
	if warns(event, f.Connection.Reason) {
		r.SetSeverityNumber(plog.SeverityNumberWarn)
		r.SetSeverityText("WARN")
	} else {
		r.SetSeverityNumber(plog.SeverityNumberInfo)
		r.SetSeverityText("INFO")
	}
	if !w.events.NoBody {
		r.Body().SetStr(line.Body())
	}
	line.CopyTo(r.Attributes())
	return r
}

func (w *Writer) flushFull() {
	if w.records.Len() >= w.size {
		w.flush()
	}
}

// warns returns whether somebody should look at the connection.
func warns(event fields.Event, reason flow.CloseReason) bool {
	return event == fields.Failed || reason == flow.ReasonReset || reason == flow.ReasonTimeout
}
