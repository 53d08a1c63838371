// SPDX-License-Identifier: Apache-2.0

package series

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// Sink adds flows to series, and delivers a snapshot of them at every collection.
type Sink struct {
	*Sets
	*delivery.Metrics
	workloads  sink.Workloads
	generation uint64 // of the workloads when the series of gone ones were last ended
	status     func(error)
	logger     *zap.Logger

	refusedSince time.Time // when the next consumer began to refuse; zero: it accepts
}

// refusalPatience is how long refused snapshots hold back the end of series and the audit. A fan-out refuses when any of
// its destinations does, and one that is away for days must neither fill the sets nor stop the audit of the others.
const refusalPatience = time.Minute

// NewSink returns a sink that waits for Start.
func NewSink(settings Settings, common sink.Settings, next consumer.Metrics, report delivery.MetricsReport) *Sink {
	settings.Networks = common.Networks
	return &Sink{
		Sets:      New(settings, common.Resource, common.Scope),
		Metrics:   delivery.NewMetrics(next, report),
		workloads: common.Workloads, status: common.Status, logger: common.Logger,
	}
}

// Start begins to deliver.
func (s *Sink) Start() {
	if len(s.settings.Enabled) == 0 {
		s.logger.Warn("the receiver is in a metrics pipeline, but all its metrics are switched off: no metric is reported; " +
			"enable a set, e.g. service_metrics, or remove the receiver from that pipeline")
	}
	s.Metrics.Start()
}

// Needs returns what the enabled sets need. The latency set counts the connections that are open, idle or not, and its exemplars
// have traces. A series of any set does not expire while connections of it are open.
func (s *Sink) Needs() sink.Needs {
	return sink.Needs{Idle: s.Holds(Connection), First: s.Holds(Latency), Trace: s.Holds(Latency), Recount: len(s.settings.Enabled) > 0}
}

// Flush does nothing: see Collect.
func (*Sink) Flush(time.Time) {}

// Collect ends the series of workloads that are gone, and takes a snapshot if the one before it was delivered or refused.
func (s *Sink) Collect(now time.Time) {
	if s.workloads != nil {
		if generation := s.workloads.Generation(); generation != s.generation {
			s.generation = generation
			s.EndGone(s.workloads.Named)
		}
	}
	select {
	case result := <-s.Results():
		s.settle(result, now)
	default:
	}
	if s.Ready() {
		s.Offer(s.Snapshot(time.Now()))
	}
}

// settle takes in the outcome of a snapshot.
func (s *Sink) settle(result delivery.Result, now time.Time) {
	if result.Parts > 0 { // else the consumer was not asked
		s.status(result.Err)
	}
	switch {
	case result.Parts == 0:
	case result.Err == nil:
		s.refusedSince = time.Time{}
	case s.refusedSince.IsZero():
		s.refusedSince = now
		return
	case now.Sub(s.refusedSince) < refusalPatience:
		return
	}
	s.Delivered(result.ID)
}

// Stats returns the current numbers.
func (s *Sink) Stats() sink.Stats { return sink.Stats{Series: s.Sets.Stats()} }

// Shutdown delivers the last snapshot until ctx ends, and returns what was not delivered; nil: nothing.
func (s *Sink) Shutdown(ctx context.Context) *sink.Loss {
	last := s.Snapshot(time.Now())
	err := s.Metrics.Shutdown(ctx, last)
	if err == nil {
		s.Delivered(last.ID())
		return nil
	}
	stats := s.Sets.Stats()
	lost := func(c flow.Counter) zap.Field { return zap.Int64(c.String(), stats.Counted[c]-stats.Exported[c]) }
	return &sink.Loss{Message: "the last metrics were not delivered", Err: err, Fields: []zap.Field{
		lost(flow.Opened), lost(flow.Closed), lost(flow.Failed), lost(flow.Sent), lost(flow.Received),
	}}
}
