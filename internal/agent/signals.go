// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/spans"
)

// signal is one of records: the stage that writes them, and the queue to the next consumer.
type signal struct {
	what  string // the records' name in messages
	write writer
	queue queue
}

type writer interface {
	naming.Sink
	Flush(now time.Time) // passes on what is due
	FlushAll()
}

type queue interface {
	Start()
	Idle() bool
	Stats() delivery.QueueStats
	Shutdown(context.Context) error
}

// newLogs returns the access log.
func newLogs(settings *Settings) *signal {
	next := watchedLogs{settings.Logs, func(err error) { settings.Status(partLogs, err) }}
	queue := delivery.NewLogs(settings.AccessLog.QueueBytes, next, settings.LogsReport)
	return &signal{
		what:  "access log records",
		write: accesslog.NewWriter(settings.AccessLog.settings(), settings.Resource, settings.InstrumentationScope, batchRecords, queue.Offer),
		queue: queue,
	}
}

// newSpans returns the traces.
func newSpans(settings *Settings) *signal {
	next := watchedTraces{settings.Traces, func(err error) { settings.Status(partTraces, err) }}
	queue := delivery.NewTraces(settings.AccessLog.QueueBytes, next, settings.TracesReport)
	with := spans.Settings{
		Pods:    !namesProcesses(settings.Identity.Source.Capabilities()),
		TCPInfo: settings.AccessLog.TCPInfo,
	}
	return &signal{
		what:  "spans",
		write: spans.NewWriter(with, settings.Resource, settings.InstrumentationScope, batchRecords, queue.Offer),
		queue: queue,
	}
}

// stats returns the queue's numbers; none for a signal without a pipeline.
func (s *signal) stats() delivery.QueueStats {
	if s == nil {
		return delivery.QueueStats{}
	}
	return s.queue.Stats()
}

// logLosses logs what nobody can query any more, as the agent's self telemetry ends with it.
func (s *signal) logLosses(logger *zap.Logger, err error) {
	if n := s.queue.Stats(); n.DroppedShutdown+n.DroppedRefused+n.DroppedQueueFull > 0 {
		logger.Warn(s.what+" were lost since the start", zap.Error(err), zap.Uint64("shutdown", n.DroppedShutdown),
			zap.Uint64("refused", n.DroppedRefused), zap.Uint64("queue_full", n.DroppedQueueFull))
	}
}

// watchedLogs is a consumer whose refusals show in the agent's status.
type watchedLogs struct {
	consumer.Logs
	outcome func(error)
}

func (w watchedLogs) ConsumeLogs(ctx context.Context, logs plog.Logs) error {
	err := w.Logs.ConsumeLogs(ctx, logs)
	if ctx.Err() == nil { // else it was our own shutdown
		w.outcome(err)
	}
	return err
}

// watchedTraces is likewise.
type watchedTraces struct {
	consumer.Traces
	outcome func(error)
}

func (w watchedTraces) ConsumeTraces(ctx context.Context, traces ptrace.Traces) error {
	err := w.Traces.ConsumeTraces(ctx, traces)
	if ctx.Err() == nil {
		w.outcome(err)
	}
	return err
}
