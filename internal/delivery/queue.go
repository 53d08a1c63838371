// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"sync"
)

// DefaultQueueBytes bounds the memory of what waits for a consumer, unless the user configures another limit.
const DefaultQueueBytes = 32 << 20

// QueueStats are the numbers of a queue's items, e.g. access log records; the last four are totals.
type QueueStats struct {
	Queued      int // waiting or in flight
	QueuedBytes int // memory that they take, approximately

	Delivered uint64

	DroppedQueueFull uint64 // more waited than the queue holds
	DroppedRefused   uint64 // the next consumer returned an error
	DroppedShutdown  uint64 // still waiting when the time to shut down was over
}

// Queue hands batches to the next consumer on a goroutine of its own, in order, and each of them once.
//
// A batch that the consumer refuses is dropped and counted. The consumer may be a fan-out, which returns an error when one
// destination refused and the others accepted: another try would duplicate the batch there. Retries belong to exporters.
type Queue[T any] struct {
	what  string // the items' name in errors
	limit int    // bytes
	weigh func(T) int
	hand  func(ctx context.Context, batch T, items int) error

	mu      sync.Mutex
	waiting []batch[T] // the first is in flight while the goroutine hands it over
	stats   QueueStats
	closing bool
	over    bool          // the time to shut down is over: what is in flight was counted as dropped
	wake    chan struct{} // has room for one: something was queued, or closing was set

	start, stop sync.Once
	started     bool
	done        chan struct{}
	cancel      context.CancelFunc
	ctx         context.Context // of the background work: Start's own ends when Start returns
}

type batch[T any] struct {
	data         T
	items, bytes int
}

// NewQueue returns a queue of at most limit bytes (0: DefaultQueueBytes) that waits for Start. what are the items' name in
// errors. weigh returns the memory of a batch: it runs on the goroutine that calls Offer. hand passes a batch to the next
// consumer.
func NewQueue[T any](what string, limit int, weigh func(T) int, hand func(ctx context.Context, batch T, items int) error) *Queue[T] {
	if limit <= 0 {
		limit = DefaultQueueBytes
	}
	ctx, cancel := context.WithCancel(context.Background()) // #nosec G118 -- shutdown calls it
	return &Queue[T]{
		what:   what,
		limit:  limit,
		weigh:  weigh,
		hand:   hand,
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		cancel: cancel,
		ctx:    ctx,
	}
}

// Start begins to deliver. Starting again does nothing.
func (q *Queue[T]) Start() {
	q.start.Do(func() {
		q.started = true
		go q.run()
	})
}

// Offer queues a batch and does not wait; the batch is the queue's own from here on. An empty queue accepts any batch.
func (q *Queue[T]) Offer(data T, items int) {
	b := batch[T]{data: data, items: items, bytes: q.weigh(data)}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closing:
		q.stats.DroppedShutdown += uint64(items)
	case len(q.waiting) > 0 && q.stats.QueuedBytes+b.bytes > q.limit:
		q.stats.DroppedQueueFull += uint64(items)
	default:
		q.waiting = append(q.waiting, b)
		q.stats.Queued += items
		q.stats.QueuedBytes += b.bytes
		q.signal()
	}
}

// Idle returns whether nothing waits and nothing is in flight. Safe on any goroutine.
func (q *Queue[T]) Idle() bool { return q.Stats().Queued == 0 }

// Stats returns the current numbers. Safe on any goroutine.
func (q *Queue[T]) Stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stats
}

func (q *Queue[T]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *Queue[T]) run() {
	defer close(q.done)
	for {
		first, closing := q.first()
		if first.items > 0 {
			q.finish(q.hand(q.ctx, first.data, first.items))
			continue
		}
		if closing {
			return
		}
		<-q.wake
	}
}

// first returns the batch that is next, without taking it from the queue.
func (q *Queue[T]) first() (first batch[T], closing bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		first = q.waiting[0]
	}
	return first, q.closing
}

// finish takes the first batch from the queue, and counts it.
func (q *Queue[T]) finish(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return
	}
	items := uint64(q.waiting[0].items)
	q.pop()
	if err != nil {
		q.stats.DroppedRefused += items
	} else {
		q.stats.Delivered += items
	}
}

func (q *Queue[T]) pop() {
	q.stats.Queued -= q.waiting[0].items
	q.stats.QueuedBytes -= q.waiting[0].bytes
	q.waiting[0] = batch[T]{}
	q.waiting = q.waiting[1:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
}

// Shutdown delivers what is queued, and ends. When ctx ends first, what is in flight is cancelled, all that is left is
// dropped and counted, and ctx's error returned, even if the next consumer ignores its context. It is safe before Start
// and twice.
func (q *Queue[T]) Shutdown(ctx context.Context) error {
	var err error
	q.stop.Do(func() {
		q.start.Do(func() {}) // never started: there is nothing to wait for
		err = q.shutdown(ctx)
	})
	return err
}

func (q *Queue[T]) shutdown(ctx context.Context) error {
	defer q.cancel()
	q.mu.Lock()
	q.closing = true
	q.signal()
	q.mu.Unlock()
	if !q.started {
		return nil
	}
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return q.giveUp(ctx.Err())
	}
}

// giveUp drops what is left.
func (q *Queue[T]) giveUp(cause error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.stats.Queued
	if left == 0 {
		return nil
	}
	q.over = true
	q.stats.DroppedShutdown += uint64(left)
	for len(q.waiting) > 0 {
		q.pop()
	}
	return fmt.Errorf("deliver the last %d %s: %w", left, q.what, cause)
}
