// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// readInterval is how long records wait in the ring, unless it fills. A wake-up for each would cost more than everything else.
const readInterval = 500 * time.Millisecond

// Agent is the one goroutine between the probe and the deliveries. Each record goes through naming to all sinks. It never waits
// for a consumer.
type Agent struct {
	probe  Probe
	source identity.Source
	asker  identity.Asker // nil: the source knows all addresses
	// translation is nil where none could be opened, or none is wanted.
	translation Translation
	decoder     *decoder
	namer       *naming.Namer
	sinks       []namedSink // of the signals that have a pipeline
	needs       sink.Needs  // of all sinks

	readAt   time.Time // the newest reading of the clock for records that were read
	interval time.Duration
	holdAt   time.Time     // when the addresses of idle connections are held again
	holdFor  time.Duration // how long the source holds an address
	// sweepFirst lets the first collection report all connections: those that are open are counted, idle or not.
	sweepFirst bool
	recount    recount

	status func(part string, err error)
	logger *zap.Logger
	newest atomic.Pointer[Observation]

	earlier Audit                   // of the agents that had the probe before
	keep    func(audit Audit) error // keeps the probe for the next agent; nil: it is closed
	closers []io.Closer             // all but the probe, in the order in which they are closed

	lifecycle
}

// The parts of an agent whose status is reported.
const (
	partIdentity = "identity"
	partReading  = "reading"
	partConsumer = " consumer" // behind the name of a signal
)

func (r *Agent) loop(ctx context.Context) {
	now := time.Now()
	collectAt, periodAt := now.Add(r.interval), now.Add(r.needs.Period)
	if r.sweepFirst {
		collectAt = now // before a full ring leaves of an older connection's close only that it was one
	}
	var failed error
	for {
		until := time.Now().Add(readInterval)
		if collectAt.Before(until) {
			until = collectAt
		}
		r.readAt = time.Time{}
		err := r.probe.Read(until, r.add)
		now = time.Now()
		if r.ends(ctx, now, err) {
			r.failed = err
			return
		}
		if period := r.needs.Period; period > 0 && !now.Before(periodAt) {
			err = errors.Join(err, r.probe.Sweep(true, r.add))
			periodAt = later(periodAt, period, now)
		}
		r.namer.Settle(now)
		r.flush(now)
		if !now.Before(collectAt) {
			r.beginRecount()
			err = errors.Join(err, r.collect(now, r.needs.Idle || r.sweepFirst || r.recount.underWay()))
			r.sweepFirst = false
			err = errors.Join(err, r.hold(now))
			for _, s := range r.sinks {
				s.Collect(now)
			}
			r.observe()
			r.endRecount(now, err)
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
	c := r.decoder.record(record, r.probe.Clock())
	r.namer.Add(c, r.observed(c))
}

// observed returns when a record was read. One reading of the clock is for all records that were written before it: a reading costs
// more than to name an end.
func (r *Agent) observed(c *flow.Connection) time.Time {
	if r.readAt.IsZero() || c.At.After(r.readAt) {
		r.readAt = time.Now()
	}
	return r.readAt
}

// collect reads what is still in the kernel: totals that found the ring full, and those of open connections.
func (r *Agent) collect(now time.Time, all bool) error {
	err := r.probe.Drain(func(s *probe.Spilled) {
		r.namer.Add(r.decoder.spilled(s, r.probe.Clock(), now), now)
	})
	return errors.Join(err, r.probe.Sweep(all, r.add))
}

func (r *Agent) flush(now time.Time) {
	for _, s := range r.sinks {
		s.Flush(now)
	}
}
