// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TracesReport counts what the next consumer accepted and refused; receiverhelper.ObsReport is one.
type TracesReport interface {
	StartTracesOp(ctx context.Context) context.Context
	EndTracesOp(ctx context.Context, format string, spans int, err error)
}

// Traces delivers spans.
type Traces = Queue[ptrace.Traces]

// NewTraces returns a queue of at most so many bytes (0: DefaultQueueBytes) that waits for Start.
func NewTraces(queueBytes int, next consumer.Traces, report TracesReport) *Traces {
	return newQueue("spans", queueBytes, tracesMemory, func(ctx context.Context, traces ptrace.Traces, spans int) error {
		ctx = report.StartTracesOp(ctx)
		err := next.ConsumeTraces(ctx, traces)
		report.EndTracesOp(ctx, format, spans, err)
		return err
	})
}

// spanMemory is what a span takes as pdata, in bytes: itself with a pointer to it and its texts.
const spanMemory = 560

// tracesMemory returns roughly what traces take. It does not look at the attributes: a batch is weighed on the goroutine
// that reads.
func tracesMemory(traces ptrace.Traces) (bytes int) {
	for _, resource := range traces.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				bytes += spanMemory + attributeMemory*s.Attributes().Len()
			}
		}
	}
	return bytes
}
