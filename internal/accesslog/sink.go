// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"context"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// Report counts what the next consumer accepted and refused; receiverhelper.ObsReport is one.
type Report interface {
	StartLogsOp(ctx context.Context) context.Context
	EndLogsOp(ctx context.Context, format string, records int, err error)
}

// Sink writes flows as access log records, and delivers them.
type Sink struct {
	*Writer
	*sink.Queue[plog.Logs]
	settings Settings
	logger   *zap.Logger
}

// NewSink returns a sink that waits for Start.
func NewSink(config *Config, settings sink.Settings, next consumer.Logs, report Report) *Sink {
	s := &Sink{settings: config.settings(), logger: settings.Logger}
	s.Queue = newQueue(&settings, config.QueueBytes(), next, report)
	s.Writer = NewWriter(s.settings, settings.Resource, settings.Scope, sink.BatchSize, s.Offer)
	return s
}

func newQueue(settings *sink.Settings, bytes int, next consumer.Logs, report Report) *sink.Queue[plog.Logs] {
	return sink.NewQueue(settings, sink.Records{Item: "log", Name: "access log records"}, bytes, weigh,
		func(ctx context.Context, logs plog.Logs, records int) error {
			ctx = report.StartLogsOp(ctx)
			err := next.ConsumeLogs(ctx, logs)
			report.EndLogsOp(ctx, delivery.Format, records, err)
			return err
		})
}

// Start begins to deliver.
func (s *Sink) Start() {
	if w := &s.settings; !w.Closed && !w.Failed && !w.Opened && !w.Periodic {
		s.logger.Warn("the receiver is in a logs pipeline, but access_log.events is empty: no connection is logged; " +
			"list events, e.g. [closed, failed], or remove the receiver from that pipeline")
	}
	s.Queue.Start()
}

// Needs returns what the selected events need.
func (s *Sink) Needs() sink.Needs {
	needs := sink.Needs{TCPInfo: s.settings.TCPInfo, Trace: true}
	if s.settings.Periodic {
		needs.Period = s.settings.Period
	}
	return needs
}

// Shutdown passes on the sums of an interval that is not over, too.
func (s *Sink) Shutdown(ctx context.Context) *sink.Loss {
	s.flushAll()
	return s.Queue.Shutdown(ctx)
}

// What a record takes as pdata, in bytes: itself with a pointer to it and the texts outside its body, and each attribute
// with its value.
const (
	recordMemory    = 368
	attributeMemory = 56
)

// weigh returns roughly what logs take. It does not look at the attributes: a batch is weighed on the goroutine that reads.
func weigh(logs plog.Logs) (bytes int) {
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, r := range scope.LogRecords().All() {
				bytes += recordMemory + attributeMemory*r.Attributes().Len()
				if body := r.Body(); body.Type() == pcommon.ValueTypeStr {
					bytes += len(body.Str())
				}
			}
		}
	}
	return bytes
}
