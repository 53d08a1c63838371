// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
	"unique"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

// readInterval is how long records wait in the ring, unless it fills. A wake-up for each would cost more than everything else.
const readInterval = 500 * time.Millisecond

// batchRecords bounds the records of a signal that go to the next consumer at once. They go at every reading, too.
const batchRecords = 1000

// Agent is the one goroutine between the probe and the deliveries: records in, series, access log records and spans out. It never
// waits for a consumer.
type Agent struct {
	probe  Probe
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
	logs        *signal           // nil without a logs pipeline
	spans       *signal           // nil without a traces pipeline
	signals     []*signal         // those that are there

	interval time.Duration
	period   time.Duration // of periodic log records; 0: none
	sweepAll bool          // idle connections are reported too
	holdAt   time.Time     // when the addresses of idle connections are held again
	holdFor  time.Duration // how long the source holds an address
	// sweepFirst lets the first collection report all connections: those that are open are counted, idle or not.
	sweepFirst bool

	status func(part string, err error)
	logger *zap.Logger
	newest atomic.Pointer[Observation]

	earlier Audit                   // of the agents that had the probe before
	keep    func(audit Audit) error // keeps the probe for the next agent; nil: it is closed
	closers []io.Closer             // all but the probe, in the order in which they are closed

	lifecycle
	refusedSince time.Time // when the metrics consumer began to refuse; zero: it accepts
}

// refusalPatience is how long refused snapshots hold back the end of series and the audit. A fan-out refuses when any of
// its destinations does, and one that is away for days must neither fill the sets nor stop the audit of the others.
const refusalPatience = time.Minute

// The parts of an agent whose status is reported.
const (
	partIdentity = "identity"
	partReading  = "reading"
	partMetrics  = "metrics consumer"
	partLogs     = "logs consumer"
	partTraces   = "traces consumer"
)

func (r *Agent) loop(ctx context.Context) {
	now := time.Now()
	collectAt, periodAt := now.Add(r.interval), now.Add(r.period)
	if r.sweepFirst {
		collectAt = now // before a full ring leaves of an older connection's close only that it was one
	}
	var failed error
	for {
		until := time.Now().Add(readInterval)
		if collectAt.Before(until) {
			until = collectAt
		}
		err := r.probe.Read(until, r.add)
		now = time.Now()
		if r.ends(ctx, now, err) {
			r.failed = err
			return
		}
		if r.period > 0 && !now.Before(periodAt) {
			err = errors.Join(err, r.probe.Sweep(true, r.add))
			periodAt = later(periodAt, r.period, now)
		}
		r.namer.Settle(now)
		r.flush()
		if !now.Before(collectAt) {
			err = errors.Join(err, r.collect(now, r.sweepAll || r.sweepFirst))
			r.sweepFirst = false
			err = errors.Join(err, r.hold(now))
			r.endGone()
			r.deliver(now)
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
func (r *Agent) deliver(now time.Time) {
	if r.metricsOut == nil {
		return
	}
	select {
	case result := <-r.metricsOut.Results():
		r.settle(result, now)
	default:
	}
	if r.metricsOut.Ready() {
		r.metricsOut.Offer(r.series.Snapshot(time.Now()))
	}
}

// settle takes in the outcome of a snapshot.
func (r *Agent) settle(result delivery.Result, now time.Time) {
	if result.Parts > 0 { // else the consumer was not asked
		r.status(partMetrics, result.Err)
	}
	switch {
	case result.Parts == 0:
	case result.Err == nil:
		r.refusedSince = time.Time{}
	case r.refusedSince.IsZero():
		r.refusedSince = now
		return
	case now.Sub(r.refusedSince) < refusalPatience:
		return
	}
	r.series.Delivered(result.ID)
}

func (r *Agent) flush() {
	for _, s := range r.signals {
		s.write.Flush()
	}
}
