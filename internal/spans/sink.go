// SPDX-License-Identifier: Apache-2.0

package spans

import (
	"context"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// Report counts what the next consumer accepted and refused; receiverhelper.ObsReport is one.
type Report interface {
	StartTracesOp(ctx context.Context) context.Context
	EndTracesOp(ctx context.Context, format string, spans int, err error)
}

// Config is what spans share with the access log, whose section has it.
type Config struct {
	TCPInfo    bool
	QueueBytes int // of the spans that wait for the next consumer; 0: delivery.DefaultQueueBytes
}

// Sink writes flows as spans, and delivers them.
type Sink struct {
	*Writer
	*sink.Queue[ptrace.Traces]
	needs sink.Needs
}

// NewSink returns a sink that waits for Start.
func NewSink(config Config, settings sink.Settings, next consumer.Traces, report Report) *Sink {
	s := &Sink{needs: sink.Needs{TCPInfo: config.TCPInfo, Trace: true}}
	s.Queue = sink.NewQueue(&settings, sink.Records{Item: "span", Name: "spans"}, config.QueueBytes, weigh,
		func(ctx context.Context, traces ptrace.Traces, spans int) error {
			ctx = report.StartTracesOp(ctx)
			err := next.ConsumeTraces(ctx, traces)
			report.EndTracesOp(ctx, delivery.Format, spans, err)
			return err
		})
	s.Writer = NewWriter(Settings{Pods: settings.Pods, TCPInfo: config.TCPInfo}, settings.Resource, settings.Scope, sink.BatchSize, s.Offer)
	return s
}

// Needs returns what spans need beside the connections that end.
func (s *Sink) Needs() sink.Needs { return s.needs }

// What a span takes as pdata, in bytes: itself with a pointer to it and its texts, and each attribute with its value.
const (
	spanMemory      = 560
	attributeMemory = 56
)

// weigh returns roughly what traces take. It does not look at the attributes: a batch is weighed on the goroutine that reads.
func weigh(traces ptrace.Traces) (bytes int) {
	for _, resource := range traces.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				bytes += spanMemory + attributeMemory*s.Attributes().Len()
			}
		}
	}
	return bytes
}
