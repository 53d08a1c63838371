//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"errors"
	"sync"
	"time"
	"unique"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/otlp"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// readInterval is how long records wait in the ring, unless it fills. A wake-up for each
// would cost more than all the rest, and each wakes Go's own threads too.
const readInterval = 500 * time.Millisecond

// logBatch is how many access log records go to the next consumer at once, at most:
// they also go at every reading.
const logBatch = 1000

// prober is what the loop needs of probe.Probe.
type prober interface {
	Read(until time.Time, handle func(*probe.Record)) error
	Sweep(all bool, handle func(*probe.Record)) error
	Drain(handle func(*probe.Spilled)) error
	Clock() probe.Clock
	Tally() (probe.Tally, error)
	Counts() probe.Counts
	Maps() []probe.MapUse
	Programs() []probe.ProgramUse
	FirstAtConnect() bool
	Missing() []probe.Missing
	Close() error
}

// run is the one goroutine between the probe and the deliveries: records in, series
// and log records out. Nothing in it waits for a downstream.
type run struct {
	probe  prober
	source identity.Source
	// generation of the source when series were last held against it.
	generation uint64
	flows      *flow.Aggregator
	// translation is nil where none could be opened, or none is wanted.
	translation translation
	decoder     *decoder
	logs        *otlp.Logs            // nil without a logs pipeline
	logsOut     *otlp.LogsDelivery    // likewise
	metrics     *otlp.MetricsDelivery // nil without a metrics pipeline

	interval time.Duration
	period   time.Duration // of periodic log records; 0: none
	sweepAll bool          // also idle connections are to be told of

	health    func(error) // of reading; nil: well again
	refused   func(error) // of the metrics' next consumer, likewise
	telemetry *telemetry
	logger    *zap.Logger

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// start begins to read. The context that ends it is its own: Start's ends with Start.
func (r *run) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	if r.metrics != nil {
		r.metrics.Start()
	}
	if r.logsOut != nil {
		r.logsOut.Start()
	}
	r.done.Go(func() { r.loop(ctx) })
}

// stop ends the loop, hands over all that was read, and frees the probe. It ends with
// ctx at the latest.
func (r *run) stop(ctx context.Context) error {
	r.cancel()
	r.done.Wait()
	now := time.Now()
	errs := []error{
		r.probe.Read(now, r.add), // what closed while the loop ended
		r.collect(now, false),
	}
	r.flows.Drain(now)
	r.flushLogs()
	errs = append(errs, r.finish(ctx))
	r.telemetry.shutdown()
	if r.translation != nil {
		errs = append(errs, r.translation.Close())
	}
	return errors.Join(append(errs, r.source.Close(), r.probe.Close())...)
}

// finish ends both deliveries at once: one whose consumer blocks must not take the
// other one's time.
func (r *run) finish(ctx context.Context) error {
	var ofMetrics, ofLogs error
	var logs sync.WaitGroup
	if r.logsOut != nil {
		logs.Go(func() { ofLogs = r.logsOut.Shutdown(ctx) })
	}
	if r.metrics != nil {
		ofMetrics = r.metrics.Shutdown(ctx, r.flows.Snapshot(time.Now()))
	}
	logs.Wait()
	return errors.Join(ofMetrics, ofLogs)
}

func (r *run) loop(ctx context.Context) {
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
		r.flows.Settle(now)
		r.flushLogs()
		if !now.Before(collectAt) {
			err = errors.Join(err, r.collect(now, r.sweepAll))
			r.endGone()
			r.deliver()
			r.observe()
			collectAt = later(collectAt, r.interval, now)
		}
		if (err == nil) != (failed == nil) { // not each time that it fails: another part of it may do so first
			r.health(err)
		}
		if err != nil {
			if failed == nil {
				r.logger.Error("reading from the kernel failed; it is tried again", zap.Error(err))
			}
			pause(ctx, until)
		}
		failed = err
	}
}

// later gives the next moment of a regular series after now: one that was missed is
// left out.
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

func (r *run) add(record *probe.Record) {
	r.flows.Add(r.decoder.record(record, r.probe.Clock()), time.Now())
}

// collect brings in what is still in the kernel: totals that found the ring full, and
// those of open connections.
func (r *run) collect(now time.Time, all bool) error {
	err := r.probe.Drain(func(s *probe.Spilled) {
		r.flows.Add(r.decoder.spilled(s, r.probe.Clock(), now), now)
	})
	return errors.Join(err, r.probe.Sweep(all, r.add))
}

// endGone ends the series of workloads that are gone, where the source knows who is.
func (r *run) endGone() {
	source, knows := r.source.(interface {
		Named(names unique.Handle[identity.Names]) bool
	})
	if generation := r.source.Generation(); knows && generation != r.generation {
		r.generation = generation
		r.flows.EndGone(source.Named)
	}
}

// deliver takes a snapshot if the one before it is through, and hears what became of
// that one.
func (r *run) deliver() {
	if r.metrics == nil {
		return
	}
	select {
	case result := <-r.metrics.Results():
		if result.Err == nil {
			r.flows.Delivered(result.ID)
		}
		r.refused(result.Err)
	default:
	}
	if r.metrics.Ready() {
		r.metrics.Offer(r.flows.Snapshot(time.Now()))
	}
}

func (r *run) flushLogs() {
	if r.logs != nil {
		r.logs.Flush()
	}
}

// observe takes what self telemetry will show.
func (r *run) observe() {
	tally, err := r.probe.Tally()
	if err != nil {
		return // it will be the reading's error too
	}
	o := &observation{
		flows:    r.flows.Stats(),
		tally:    tally,
		counts:   r.probe.Counts(),
		maps:     r.probe.Maps(),
		programs: r.probe.Programs(),
	}
	if r.logsOut != nil {
		o.logs = r.logsOut.Stats()
	}
	if r.translation != nil {
		o.nat = r.translation.Stats()
	}
	r.telemetry.newest.Store(o)
}
