// SPDX-License-Identifier: Apache-2.0

package spans

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/kmesh-net/otelcol-kmesh/internal/fields"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Settings are what spans have.
type Settings struct {
	Pods    bool // workloads are pods, not processes
	TCPInfo bool // the details of tcp_info too
}

// Writer writes flows as spans, batch by batch: one when an end closes, and one when a connect fails. It is not safe for
// concurrent use.
type Writer struct {
	pods     bool
	resource pcommon.Resource // of the agent
	scope    pcommon.InstrumentationScope
	size     int
	full     func(ptrace.Traces, int)

	batch  ptrace.Traces
	spans  int
	owners map[owner]ptrace.SpanSlice // of the batch
	line   *fields.Line
	names  map[string]string // of spans, by what they are named after
}

// maxNames bounds the kept names of spans.
const maxNames = 4096

// NewWriter returns a Writer that passes every batch of size spans to full, which then owns it.
func NewWriter(settings Settings, resource pcommon.Resource, scope pcommon.InstrumentationScope,
	size int, full func(batch ptrace.Traces, spans int),
) *Writer {
	use := fields.Span
	if settings.TCPInfo {
		use |= fields.TCPInfo
	}
	w := &Writer{
		pods: settings.Pods, resource: resource, scope: scope, size: max(size, 1), full: full,
		owners: make(map[owner]ptrace.SpanSlice), line: fields.NewLine(use), names: make(map[string]string),
	}
	w.begin()
	return w
}

func (w *Writer) begin() {
	w.batch, w.spans = ptrace.NewTraces(), 0
	clear(w.owners)
}

// Add writes the span of an end that closed or of a connect that failed.
func (w *Writer) Add(f *flow.Flow, _ time.Time) {
	switch f.Connection.Event {
	case flow.EventClosed:
		w.write(fields.Closed, f)
	case flow.EventFailed:
		w.write(fields.Failed, f)
	case flow.EventOpen, flow.EventRecovered: // not over; its record is lost, which the probe counts
	}
}

// Flush passes on the spans that wait for their batch to fill.
func (w *Writer) Flush(time.Time) { w.flush() }

func (w *Writer) flush() {
	if n := w.spans; n > 0 {
		batch := w.batch
		w.begin()
		w.full(batch, n)
	}
}

func (w *Writer) write(event fields.Event, f *flow.Flow) {
	c := f.Connection
	w.line.Fill(event, f)

	s := w.spansOf(f).AppendEmpty()
	s.SetTraceID(c.Trace.ID)
	s.SetSpanID(c.SpanID())
	if c.Direction == flow.Inbound {
		s.SetKind(ptrace.SpanKindServer)
		s.SetParentSpanID(c.Trace.Client)
	} else {
		s.SetKind(ptrace.SpanKindClient)
	}
	s.SetName(w.name(f))
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(c.Start))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(c.At))
	s.SetFlags(sampled)
	w.line.CopyTo(s.Attributes())
	if problem, has := s.Attributes().Get("error.type"); has {
		s.Status().SetCode(ptrace.StatusCodeError)
		s.Status().SetMessage(problem.Str())
	}
	if w.spans++; w.spans >= w.size {
		w.flush()
	}
}

// sampled is the flag of W3C trace context. Whoever samples decides later, by the trace id.
const sampled = 1

// spansOf returns the spans of the workload whose end it is.
func (w *Writer) spansOf(f *flow.Flow) ptrace.SpanSlice {
	who := reporter(f)
	key := ownerOf(who)
	spans, has := w.owners[key]
	if !has {
		resource := w.batch.ResourceSpans().AppendEmpty()
		w.describe(who, resource.Resource().Attributes())
		scope := resource.ScopeSpans().AppendEmpty()
		w.scope.CopyTo(scope.Scope())
		spans = scope.Spans()
		w.owners[key] = spans
	}
	return spans
}

// name returns what Jaeger shows as the operation: the destination's service, else its workload, else its address.
func (w *Writer) name(f *flow.Flow) string {
	var of string
	switch {
	case f.Service != nil:
		of = f.Service.Name
	case f.Destination != nil:
		of = f.Destination.Names.Value().Workload
	default:
		of = f.Requested().Addr().String()
	}
	name, has := w.names[of]
	if !has {
		if len(w.names) >= maxNames {
			clear(w.names)
		}
		name = "TCP " + flow.Text(of)
		w.names[of] = name
	}
	return name
}
