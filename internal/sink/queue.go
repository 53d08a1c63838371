// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
)

// Records are the names of what a queue has.
type Records struct {
	Item string // one in self telemetry: log
	Name string // all in messages: access log records
}

// Queue delivers the records of a signal: the part of its sink that is behind the writer.
type Queue[T any] struct {
	*delivery.Queue[T]
	records Records
}

// NewQueue returns a queue that waits for Start, with at most so many bytes (0: delivery.DefaultQueueBytes). weigh returns the
// memory of a batch, and consume hands one to the next consumer, whose error shows in the agent's status.
func NewQueue[T any](settings *Settings, records Records, bytes int, weigh func(T) int,
	consume func(ctx context.Context, batch T, records int) error,
) *Queue[T] {
	status := settings.Status
	return &Queue[T]{records: records, Queue: delivery.NewQueue(records.Name, bytes, weigh, func(ctx context.Context, batch T, n int) error {
		err := consume(ctx, batch, n)
		if ctx.Err() == nil { // else it was our own shutdown
			status(err)
		}
		return err
	})}
}

// Collect does nothing: records are flushed at every reading.
func (*Queue[T]) Collect(time.Time) {}

// Recount does nothing: records are not open.
func (*Queue[T]) Recount(time.Time) {}

// Recounted does nothing: see Recount.
func (*Queue[T]) Recounted(time.Time, bool) {}

// Stats returns the current numbers.
func (q *Queue[T]) Stats() Stats { return Stats{Item: q.records.Item, Queue: q.Queue.Stats()} }

// Shutdown delivers what is queued until ctx ends, and returns what was lost since the start; nil: nothing.
func (q *Queue[T]) Shutdown(ctx context.Context) *Loss {
	err := q.Queue.Shutdown(ctx)
	n := q.Queue.Stats()
	if n.DroppedShutdown+n.DroppedRefused+n.DroppedQueueFull == 0 {
		return nil
	}
	return &Loss{Message: q.records.Name + " were lost since the start", Err: err, Fields: []zap.Field{
		zap.Uint64("shutdown", n.DroppedShutdown), zap.Uint64("refused", n.DroppedRefused), zap.Uint64("queue_full", n.DroppedQueueFull),
	}}
}
