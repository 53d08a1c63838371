// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// How long an agent takes to stop: first it reads on while consumers are busy, then it hands over what is left.
const (
	drainTimeout    = 2 * time.Second
	handOverTimeout = 3 * time.Second
)

// resumeTimeout is how long an agent that lost one of its signals waits before it reads on. At the collector's end the
// other signals follow at once: what closes in between must not count for one of them only.
const resumeTimeout = time.Second

// lifecycle is the part of an agent that starts and stops it.
type lifecycle struct {
	mu      sync.Mutex
	stopped bool
	resume  *time.Timer // nil: no signal was lost

	cancel context.CancelFunc // nil: the loop does not run
	done   sync.WaitGroup
	readTo time.Time // when the loop ends at the latest; set before cancel
	handTo time.Time // when the last signal has handed over at the latest
	failed error     // of the loop's last reading
}

// Start begins to read, until Stop.
func (r *Agent) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.metricsOut != nil {
		r.metricsOut.Start()
	}
	for _, s := range r.signals {
		s.queue.Start()
	}
	r.read()
}

func (r *Agent) read() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.done.Go(func() { r.loop(ctx) })
}

// Stop ends the loop, hands over everything that was read, and closes the agent. It must follow Start.
//
// It takes drainTimeout, a reading and handOverTimeout at most, whatever the consumers do, and less if ctx ends earlier.
// What no consumer accepted by then is logged. It is no error: the collector would not go on with a new configuration.
func (r *Agent) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	err := r.halt(ctx)
	r.handOver(ctx, true, r.signals...)
	return errors.Join(err, r.release(err))
}

// StopMetrics hands over the last metrics; the agent goes on with what is left of its signals.
func (r *Agent) StopMetrics(ctx context.Context) error {
	return r.lose(ctx, func() {
		r.handOver(ctx, true)
		if r.series != nil {
			r.earlier.Exported.Add(r.series.Stats().Exported)
			r.namer.Remove(r.series)
		}
		r.series, r.metricsOut, r.sweepAll, r.sweepFirst = nil, nil, false, false
	})
}

// StopLogs hands over the last access log records; the agent goes on with what is left of its signals.
func (r *Agent) StopLogs(ctx context.Context) error {
	return r.lose(ctx, func() {
		r.stopSignal(ctx, &r.logs)
		r.period = 0
	})
}

// StopTraces hands over the last spans; the agent goes on with what is left of its signals.
func (r *Agent) StopTraces(ctx context.Context) error {
	return r.lose(ctx, func() { r.stopSignal(ctx, &r.spans) })
}

func (r *Agent) stopSignal(ctx context.Context, one **signal) {
	if *one == nil {
		return
	}
	r.handOver(ctx, false, *one)
	r.namer.Remove((*one).write)
	r.signals = slices.DeleteFunc(r.signals, func(s *signal) bool { return s == *one })
	*one = nil
}

// lose stops one signal while nothing is read, and reads on if no Stop follows.
func (r *Agent) lose(ctx context.Context, stop func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil
	}
	err := r.halt(ctx)
	stop()
	r.resume = time.AfterFunc(resumeTimeout, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.stopped && r.cancel == nil {
			r.read()
		}
	})
	return err
}

// halt ends the loop. All that was read until then is in the series and in the queue.
func (r *Agent) halt(ctx context.Context) error {
	if r.resume != nil {
		r.resume.Stop()
	}
	if r.cancel == nil {
		return nil // nothing was read since
	}
	now := time.Now()
	r.readTo = now.Add(drainTimeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(now)/2 < drainTimeout {
		r.readTo = now.Add(deadline.Sub(now) / 2)
	}
	r.cancel()
	r.done.Wait()
	r.cancel = nil
	now = time.Now()
	r.handTo = now.Add(handOverTimeout)
	err := errors.Join(
		r.probe.Read(now, r.add), // what closed while the loop ended
		r.collect(now, false),
	)
	r.namer.Drain(now)
	for _, s := range r.signals {
		s.write.FlushAll()
	}
	return err
}

// ends returns whether the loop is over: it was stopped, and the consumers have what was read or took too long. Connections
// that close meanwhile are read.
func (r *Agent) ends(ctx context.Context, now time.Time, failed error) bool {
	if ctx.Err() == nil {
		return false
	}
	busy := r.metricsOut != nil && !r.metricsOut.Idle() ||
		slices.ContainsFunc(r.signals, func(s *signal) bool { return !s.queue.Idle() })
	return failed != nil || !busy || !now.Before(r.readTo)
}

// handOver ends the deliveries of signals at once: one whose consumer blocks must not take the others' time. Signals that
// stop one after the other share the time, too: the later ones delivered all the while.
func (r *Agent) handOver(ctx context.Context, metrics bool, signals ...*signal) {
	ctx, cancel := context.WithDeadline(ctx, r.handTo)
	defer cancel()
	failed := make([]error, len(signals))
	var queues sync.WaitGroup
	for i, s := range signals {
		queues.Go(func() { failed[i] = s.queue.Shutdown(ctx) })
	}
	var ofMetrics error
	if metrics && r.metricsOut != nil {
		last := r.series.Snapshot(time.Now())
		if ofMetrics = r.metricsOut.Shutdown(ctx, last); ofMetrics == nil {
			r.series.Delivered(last.ID())
		}
	}
	queues.Wait()
	r.observe()
	r.logMetricsLoss(ofMetrics)
	for i, s := range signals {
		s.logLosses(r.logger, failed[i])
	}
}

// logMetricsLoss logs what nobody can query any more, as the agent's self telemetry ends with it.
func (r *Agent) logMetricsLoss(err error) {
	if err == nil {
		return
	}
	o := r.Observation()
	lost := func(c flow.Counter) zap.Field {
		return zap.Int64(c.String(), o.Series.Counted[c]-o.Series.Exported[c])
	}
	r.logger.Warn("the last metrics were not delivered", zap.Error(err),
		lost(flow.Opened), lost(flow.Closed), lost(flow.Failed), lost(flow.Sent), lost(flow.Received))
}

// release gives the probe to the next agent of the process unless reading it failed, and closes the rest.
func (r *Agent) release(failed error) error {
	if r.keep == nil || failed != nil || r.failed != nil {
		return r.Close()
	}
	o := r.Observation()
	return errors.Join(r.closeAll(), r.keep(Audit{Exported: o.Exported(), Excluded: o.Excluded()}))
}

// Close frees the probe and the source of an agent that was not started, or whose loop has ended.
func (r *Agent) Close() error { return errors.Join(r.closeAll(), r.probe.Close()) }

func (r *Agent) closeAll() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
