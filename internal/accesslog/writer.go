// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"math/bits"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

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
	line    line // the record at hand
	// The keys of each set of fields that was met, without values: a copy of them costs less than to put each key, which
	// looks for it among all that are there.
	shapes map[uint64]pcommon.Map
}

// NewWriter returns a Writer that passes every batch of size records to full, which then owns it. Resource and scope are
// copied into every batch, and must not change.
func NewWriter(settings Settings, resource pcommon.Resource, scope pcommon.InstrumentationScope,
	size int, full func(batch plog.Logs, records int),
) *Writer {
	w := &Writer{
		resource: resource, scope: scope, size: max(size, 1), full: full,
		line: newLine(), shapes: make(map[uint64]pcommon.Map),
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
func (w *Writer) write(event Event, at time.Time, f *flow.Flow) {
	w.line.fill(event, f)
	text := string(w.line.text)

	r := w.records.AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(at))
	r.SetObservedTimestamp(pcommon.NewTimestampFromTime(f.Observed))
	r.SetEventName(event.name())
	if warns(event, f.Connection.Reason) {
		r.SetSeverityNumber(plog.SeverityNumberWarn)
		r.SetSeverityText("WARN")
	} else {
		r.SetSeverityNumber(plog.SeverityNumberInfo)
		r.SetSeverityText("INFO")
	}
	r.Body().SetStr(text[:w.line.body])
	attributes := r.Attributes()
	w.shape().CopyTo(attributes)
	rest := w.line.present
	for _, to := range attributes.All() {
		i := bits.TrailingZeros64(rest)
		rest &= rest - 1
		switch v := &w.line.values[i]; {
		case fields[i].number != nil:
			to.SetInt(v.number)
		case fields[i].format != nil:
			to.SetStr(text[v.from:v.to])
		default:
			to.SetStr(v.text)
		}
	}
	if w.records.Len() >= w.size {
		w.Flush()
	}
}

// shape returns the keys of the line's fields, each with an empty value.
func (w *Writer) shape() pcommon.Map {
	shape, met := w.shapes[w.line.present]
	if !met {
		shape = pcommon.NewMap()
		shape.EnsureCapacity(bits.OnesCount64(w.line.present))
		for i := range fields {
			if w.line.present&(1<<i) != 0 {
				shape.PutEmpty(fields[i].name)
			}
		}
		w.shapes[w.line.present] = shape
	}
	return shape
}

// warns returns whether somebody should look at the connection.
func warns(event Event, reason flow.CloseReason) bool {
	return event == Failed || reason == flow.ReasonReset || reason == flow.ReasonTimeout
}
