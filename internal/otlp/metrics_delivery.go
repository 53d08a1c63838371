// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/consumer"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// format names our data to the collector's own metrics of receivers.
const format = "kmesh"

// seriesPerBatch bounds the memory of a flush: a set of labels with its metrics takes some 6 KB as pdata. A flush of
// many is the faster for it: what a batch needs is in the caches, and garbage when the next one comes.
const seriesPerBatch = 1024

// MetricsReport counts what the next consumer took and refused; receiverhelper.ObsReport is one.
type MetricsReport interface {
	StartMetricsOp(ctx context.Context) context.Context
	EndMetricsOp(ctx context.Context, format string, points int, err error)
}

// Result tells what became of a snapshot.
type Result struct {
	ID  uint64 // of the snapshot
	Err error  // nil: delivered
}

// MetricsDelivery hands snapshots to the next consumer on a goroutine of its own, one at a time.
//
// It has no queue: the sums are cumulative, so the next snapshot tells all that one which was refused did.
type MetricsDelivery struct {
	metrics *Metrics
	next    consumer.Metrics
	report  MetricsReport

	work    chan *flow.Snapshot
	results chan Result
	busy    atomic.Bool

	start, stop sync.Once
	started     bool
	done        chan struct{}
	lastErr     error // of the newest snapshot; to be read when done is closed
	cancel      context.CancelFunc
	ctx         context.Context // of the background work: Start's own ends when Start returns
}

// NewMetricsDelivery makes a delivery that waits for Start.
func NewMetricsDelivery(metrics *Metrics, next consumer.Metrics, report MetricsReport) *MetricsDelivery {
	ctx, cancel := context.WithCancel(context.Background())
	return &MetricsDelivery{
		metrics: metrics,
		next:    next,
		report:  report,
		work:    make(chan *flow.Snapshot, 1),
		results: make(chan Result, 1),
		done:    make(chan struct{}),
		cancel:  cancel,
		ctx:     ctx,
	}
}

// Start begins to deliver.  Starting again does nothing.
func (d *MetricsDelivery) Start() {
	d.start.Do(func() {
		d.started = true
		go d.run()
	})
}

// Ready says whether Offer would take a snapshot: none is on its way, and the last one's Result was received.  Ask
// it before a snapshot is taken, and take none when it is false: a later one will tell more.
func (d *MetricsDelivery) Ready() bool {
	return !d.busy.Load() && len(d.results) == 0
}

// Offer gives snap to be delivered and does not wait; false when the delivery is not Ready.  It, Ready and receiving
// from Results belong to one goroutine.
func (d *MetricsDelivery) Offer(snap *flow.Snapshot) bool {
	if !d.Ready() {
		return false
	}
	d.busy.Store(true)
	d.work <- snap // never waits: the buffer's one place is free while not busy
	return true
}

// Results tells what became of each snapshot that Offer took.
func (d *MetricsDelivery) Results() <-chan Result { return d.results }

func (d *MetricsDelivery) run() {
	defer close(d.done)
	for snap := range d.work {
		d.lastErr = d.deliver(snap)
		select {
		case d.results <- Result{ID: snap.ID, Err: d.lastErr}:
		default: // only at the end: the last snapshot follows one whose result nobody waits for any more
		}
		d.busy.Store(false)
	}
}

// deliver hands over snap part by part; the first part that is refused ends it.
func (d *MetricsDelivery) deliver(snap *flow.Snapshot) error {
	for part := range snap.Parts(seriesPerBatch) {
		if err := d.ctx.Err(); err != nil {
			return err // shut down meanwhile
		}
		metrics, points := d.metrics.Build(part)
		if points == 0 {
			continue
		}
		ctx := d.report.StartMetricsOp(d.ctx)
		err := d.next.ConsumeMetrics(ctx, metrics)
		d.report.EndMetricsOp(ctx, format, points, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// Shutdown waits for the snapshot that is on its way, delivers last (which may be nil), and ends.  When ctx ends
// first, what is on its way is cancelled and ctx's error returned, even if the next consumer does not heed it.  No
// Offer may follow.  It is safe before Start and twice.
func (d *MetricsDelivery) Shutdown(ctx context.Context, last *flow.Snapshot) error {
	var err error
	d.stop.Do(func() {
		d.start.Do(func() {}) // never started: there is nobody to wait for
		err = d.shutdown(ctx, last)
	})
	return err
}

func (d *MetricsDelivery) shutdown(ctx context.Context, last *flow.Snapshot) error {
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
