// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Snapshot is the state of all metrics at one moment. It must be readable on another goroutine.
type Snapshot interface {
	ID() uint64
	// Batches returns the snapshot part by part, each with the number of its points, which is not 0. The receiver of a part
	// owns it.
	Batches() iter.Seq2[pmetric.Metrics, int]
}

// MetricsReport counts what the next consumer accepted and refused; receiverhelper.ObsReport is one.
type MetricsReport interface {
	StartMetricsOp(ctx context.Context) context.Context
	EndMetricsOp(ctx context.Context, format string, points int, err error)
}

// Result is the outcome of a snapshot.
type Result struct {
	ID    uint64 // of the snapshot
	Parts int    // that were handed over; 0: there was nothing to deliver
	Err   error  // nil: delivered; else the error of the first part that was refused
}

// Metrics hands snapshots to the next consumer on a goroutine of its own, one at a time.
//
// It has no queue: the sums are cumulative, so the next snapshot contains all that was in one that was refused.
type Metrics struct {
	next   consumer.Metrics
	report MetricsReport

	work    chan Snapshot
	results chan Result
	busy    atomic.Bool

	start, stop sync.Once
	started     bool
	done        chan struct{}
	lastErr     error // of the newest snapshot; to be read when done is closed
	cancel      context.CancelFunc
	ctx         context.Context // of the background work: Start's own ends when Start returns
}

// NewMetrics returns a delivery that waits for Start.
func NewMetrics(next consumer.Metrics, report MetricsReport) *Metrics {
	ctx, cancel := context.WithCancel(context.Background())
	return &Metrics{
		next:    next,
		report:  report,
		work:    make(chan Snapshot, 1),
		results: make(chan Result, 1),
		done:    make(chan struct{}),
		cancel:  cancel,
		ctx:     ctx,
	}
}

// Start begins to deliver. Starting again does nothing.
func (d *Metrics) Start() {
	d.start.Do(func() {
		d.started = true
		go d.run()
	})
}

// Ready returns whether Offer would accept a snapshot: none is in flight, and the last one's Result was received. Call
// it before taking a snapshot, and take none when it is false: a later one contains more.
func (d *Metrics) Ready() bool {
	return !d.busy.Load() && len(d.results) == 0
}

// Offer passes on a snapshot and does not wait; false when the delivery is not Ready. Offer, Ready and receiving from
// Results belong to one goroutine.
func (d *Metrics) Offer(snapshot Snapshot) bool {
	if !d.Ready() {
		return false
	}
	d.busy.Store(true)
	d.work <- snapshot // never waits: the buffer's one place is free while not busy
	return true
}

// Idle returns whether no snapshot is in flight. Safe on any goroutine.
func (d *Metrics) Idle() bool { return !d.busy.Load() }

// Results receives the outcome of each snapshot that Offer accepted.
func (d *Metrics) Results() <-chan Result { return d.results }

func (d *Metrics) run() {
	defer close(d.done)
	for snapshot := range d.work {
		result := d.deliver(snapshot)
		d.lastErr = result.Err
		select {
		case d.results <- result:
		default: // only at the end: the result of the snapshot before the last one is no longer received
		}
		d.busy.Store(false)
	}
}

// deliver hands over the snapshot part by part, each once. A part that is refused does not end it: behind a fan-out the
// other destinations accepted that part, and need the rest.
func (d *Metrics) deliver(snapshot Snapshot) Result {
	result := Result{ID: snapshot.ID()}
	for metrics, points := range snapshot.Batches() {
		if err := d.ctx.Err(); err != nil { // shut down meanwhile
			result.Err = cmp.Or(result.Err, err)
			break
		}
		ctx := d.report.StartMetricsOp(d.ctx)
		err := d.next.ConsumeMetrics(ctx, metrics)
		d.report.EndMetricsOp(ctx, Format, points, err)
		result.Parts++
		result.Err = cmp.Or(result.Err, err)
	}
	return result
}

// Shutdown waits for the snapshot in flight, delivers last (which may be nil), and ends. When ctx ends first, what is in
// flight is cancelled and ctx's error returned, even if the next consumer ignores its context. No Offer may follow. It is
// safe before Start and twice.
func (d *Metrics) Shutdown(ctx context.Context, last Snapshot) error {
	var err error
	d.stop.Do(func() {
		d.start.Do(func() {}) // never started: there is nothing to wait for
		err = d.shutdown(ctx, last)
	})
	return err
}

func (d *Metrics) shutdown(ctx context.Context, last Snapshot) error {
	defer d.cancel()
	if !d.started {
		return nil
	}
	if last != nil {
		select {
		case d.work <- last:
		case <-ctx.Done():
		}
	}
	close(d.work)
	select {
	case <-d.done:
	case <-ctx.Done():
		return fmt.Errorf("deliver the last metrics: %w", ctx.Err())
	}
	if last != nil {
		return d.lastErr
	}
	return nil
}
