// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

// readInterval is how long records wait in the ring, unless it fills. A wake-up for each would cost more than everything else.
const readInterval = 500 * time.Millisecond

// logBatch bounds the access log records that go to the next consumer at once. They go at every reading, too.
const logBatch = 1000

// reader is what the loop reads from.
type reader interface {
	Read(until time.Time, handle func(*probe.Record)) error
	Sweep(all bool, handle func(*probe.Record)) error
	Drain(handle func(*probe.Spilled)) error
	Clock() probe.Clock
}

// usage is what the kernel's part counts and costs.
type usage interface {
	Tally() (probe.Tally, error)
	Counts() probe.Counts
	Maps() []probe.MapUse
	Programs() []probe.ProgramUse
}

// Agent is the one goroutine between the probe and the deliveries: records in, series and access log records out. It never
// waits for a consumer.
type Agent struct {
	probe  reader
	usage  usage
	source identity.Source
	// listed is nil where the source does not list its workloads: then no series ends because one is gone.
	listed func(unique.Handle[identity.Names]) bool
	asker  identity.Asker // nil: the source knows all addresses
	// generation of the source when the series of gone workloads were last ended.
	generation uint64
	// translation is nil where none could be opened, or none is wanted.
	translation Translation
	decoder     *decoder
	namer       *naming.Namer
	series      *series.Sets      // nil without a metrics pipeline
	metricsOut  *delivery.Metrics // likewise
	logs        *accesslog.Writer // nil without a logs pipeline
	logsOut     *delivery.Logs    // likewise

	interval time.Duration
	period   time.Duration // of periodic log records; 0: none
	sweepAll bool          // idle connections are reported too
	holdAt   time.Time     // when the addresses of idle connections are held again
	holdFor  time.Duration // how long the source holds an address

	status func(part string, err error)
	logger *zap.Logger
	newest atomic.Pointer[Observation]

	closers []io.Closer // in the order in which they are closed
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// The parts of an agent whose status is reported.
const (
	partIdentity = "identity"
	partReading  = "reading"
	partMetrics  = "metrics consumer"
	partLogs     = "logs consumer"
)

// Start begins to read, until Stop.
func (r *Agent) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	if r.metricsOut != nil {
		r.metricsOut.Start()
	}
	if r.logsOut != nil {
		r.logsOut.Start()
	}
	r.done.Go(func() { r.loop(ctx) })
}

// Stop ends the loop, hands over everything that was read, and closes the agent. It must follow Start. The handover ends with
// ctx at the latest.
func (r *Agent) Stop(ctx context.Context) error {
	r.cancel()
	r.done.Wait()
	now := time.Now()
	errs := []error{
		r.probe.Read(now, r.add), // what closed while the loop ended
		r.collect(now, false),
	}
	r.namer.Drain(now)
	r.flushLogs()
	errs = append(errs, r.finish(ctx), r.Close())
	return errors.Join(errs...)
}

// Close frees the probe and the source of an agent that was not started, or whose loop has ended.
func (r *Agent) Close() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// finish ends both deliveries at once: one whose consumer blocks must not take the other one's time.
func (r *Agent) finish(ctx context.Context) error {
	var ofMetrics, ofLogs error
	var logs sync.WaitGroup
	if r.logsOut != nil {
		logs.Go(func() { ofLogs = r.logsOut.Shutdown(ctx) })
	}
	if r.metricsOut != nil {
		ofMetrics = r.metricsOut.Shutdown(ctx, r.series.Snapshot(time.Now()))
	}
	logs.Wait()
	return errors.Join(ofMetrics, ofLogs)
}

func (r *Agent) loop(ctx context.Context) {
	now := time.Now()
	collectAt, periodAt := now.Add(r.interval), now.Add(r.period)
	var failed error
	for ctx.Err() == nil {
		now = time.Now()
		until := now.Add(readInterval)
		if collectAt.Before(until) {
			until = collectAt
		}
		err := r.probe.Read(until, r.add)
		now = time.Now()
		if r.period > 0 && !now.Before(periodAt) {
			err = errors.Join(err, r.probe.Sweep(true, r.add))
			periodAt = later(periodAt, r.period, now)
		}
		r.namer.Settle(now)
		r.flushLogs()
		if !now.Before(collectAt) {
			err = errors.Join(err, r.collect(now, r.sweepAll))
			err = errors.Join(err, r.hold(now))
			r.endGone()
			r.deliver()
			r.observe()
			collectAt = later(collectAt, r.interval, now)
		}
		if (err == nil) != (failed == nil) { // not each time that it fails: another part of it may do so first
			r.status(partReading, err)
		}
		if err != nil {
			if failed == nil {
				r.logger.Error("reading from the kernel failed; retrying", zap.Error(err))
			}
			pause(ctx, until)
		}
		failed = err
	}
}

// later returns the next moment of a regular series after now. Those that were missed are left out.
func later(at time.Time, interval time.Duration, now time.Time) time.Time {
	at = at.Add(interval)
	if at.Before(now) {
		return now.Add(interval)
	}
	return at
}

// pause waits until a moment when reading could not.
func pause(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (r *Agent) add(record *probe.Record) {
	r.namer.Add(r.decoder.record(record, r.probe.Clock()), time.Now())
}

// collect reads what is still in the kernel: totals that found the ring full, and those of open connections.
func (r *Agent) collect(now time.Time, all bool) error {
	err := r.probe.Drain(func(s *probe.Spilled) {
		r.namer.Add(r.decoder.spilled(s, r.probe.Clock(), now), now)
	})
	return errors.Join(err, r.probe.Sweep(all, r.add))
}

// endGone ends the series of workloads that are gone.
func (r *Agent) endGone() {
	if r.series == nil || r.listed == nil {
		return
	}
	if generation := r.source.Generation(); generation != r.generation {
		r.generation = generation
		r.series.EndGone(r.listed)
	}
}

// deliver takes a snapshot if the one before it is delivered or refused.
func (r *Agent) deliver() {
	if r.metricsOut == nil {
		return
	}
	select {
	case result := <-r.metricsOut.Results():
		if result.Err == nil {
			r.series.Delivered(result.ID)
		}
		r.status(partMetrics, result.Err)
	default:
	}
	if r.metricsOut.Ready() {
		r.metricsOut.Offer(r.series.Snapshot(time.Now()))
	}
}

func (r *Agent) flushLogs() {
	if r.logs != nil {
		r.logs.Flush()
	}
}
