// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
)

// LogsReport counts what the next consumer accepted and refused; receiverhelper.ObsReport is one.
type LogsReport interface {
	StartLogsOp(ctx context.Context) context.Context
	EndLogsOp(ctx context.Context, format string, records int, err error)
}

// LogStats are the numbers of access log records; all but Queued are totals.
type LogStats struct {
	Queued    int // waiting or in flight
	Delivered uint64

	DroppedQueueFull uint64 // more waited than the queue holds
	DroppedRefused   uint64 // refused for good, or for too long
	DroppedShutdown  uint64 // still waiting when the time to shut down was over
}

// Logs hands batches of access log records to the next consumer on a goroutine of its own, in order.
//
// A batch that is refused is retried within bounds, and then dropped and counted; so is one that finds the queue full.
type Logs struct {
	bounds LogBounds
	next   consumer.Logs
	report LogsReport

	mu      sync.Mutex
	queue   []logBatch // the first is in flight while records > 0
	stats   LogStats
	closing bool
	wake    chan struct{} // has room for one: something was queued, or closing was set

	start, stop sync.Once
	started     bool
	done        chan struct{}
	cancel      context.CancelFunc
	ctx         context.Context // of the background work: Start's own ends when Start returns
}

type logBatch struct {
	logs    plog.Logs
	records int
}

// NewLogs returns a delivery that waits for Start.
func NewLogs(bounds LogBounds, next consumer.Logs, report LogsReport) *Logs {
	ctx, cancel := context.WithCancel(context.Background())
	return &Logs{
		bounds: bounds.withDefaults(),
		next:   next,
		report: report,
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		cancel: cancel,
		ctx:    ctx,
	}
}

// Start begins to deliver. Starting again does nothing.
func (d *Logs) Start() {
	d.start.Do(func() {
		d.started = true
		go d.run()
	})
}

// Offer queues a batch and does not wait; the batch is the delivery's own from here on.
func (d *Logs) Offer(batch plog.Logs, records int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closing:
		d.stats.DroppedShutdown += uint64(records)
	case len(d.queue) > 0 && d.stats.Queued+records > d.bounds.QueueRecords:
		d.stats.DroppedQueueFull += uint64(records)
	default:
		d.queue = append(d.queue, logBatch{batch, records})
		d.stats.Queued += records
		d.signal()
	}
}

// Stats returns the current numbers. Safe on any goroutine.
func (d *Logs) Stats() LogStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

func (d *Logs) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Logs) run() {
	defer close(d.done)
	for {
		batch, closing := d.first()
		if batch.records > 0 {
			d.finish(batch, d.send(batch.logs, batch.records))
			continue
		}
		if closing {
			return
		}
		<-d.wake
	}
}

// first returns the batch that is next, without taking it from the queue.
func (d *Logs) first() (batch logBatch, closing bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) > 0 {
		batch = d.queue[0]
	}
	return batch, d.closing
}

// finish takes the first batch from the queue; refused are its records that nobody accepted.
func (d *Logs) finish(batch logBatch, refused int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue[0] = logBatch{}
	d.queue = d.queue[1:]
	if len(d.queue) == 0 {
		d.queue = nil
	}
	d.stats.Queued -= batch.records
	d.stats.Delivered += uint64(batch.records - refused)
	if d.ctx.Err() != nil {
		d.stats.DroppedShutdown += uint64(refused)
	} else {
		d.stats.DroppedRefused += uint64(refused)
	}
}

// Shutdown delivers what is queued, and ends. When ctx ends first, what is in flight is cancelled, the rest dropped and
// counted, and ctx's error returned, even if the next consumer ignores its context. It is safe before Start and twice.
func (d *Logs) Shutdown(ctx context.Context) error {
	var err error
	d.stop.Do(func() {
		d.start.Do(func() {}) // never started: there is nobody to wait for
		err = d.shutdown(ctx)
	})
	return err
}

func (d *Logs) shutdown(ctx context.Context) error {
	defer d.cancel()
	d.mu.Lock()
	d.closing = true
	d.signal()
	d.mu.Unlock()
	if !d.started {
		return nil
	}
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("deliver the last %d access log records: %w", d.Stats().Queued, ctx.Err())
	}
}
