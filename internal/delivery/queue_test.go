// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
)

// batchOf has n records whose bodies are numbered from first.
func batchOf(first, n int) plog.Logs {
	logs := plog.NewLogs()
	all := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for i := range n {
		all.AppendEmpty().Body().SetInt(int64(first + i))
	}
	return logs
}

func bodies(logs plog.Logs) (all []int64) {
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, r := range scope.LogRecords().All() {
				all = append(all, r.Body().Int())
			}
		}
	}
	return all
}

// recordBytes is the memory that the tests assign to a record.
const recordBytes = 100

// newLogs returns a queue of log records.
func newLogs(limit int, consume func(context.Context, plog.Logs) error) *Queue[plog.Logs] {
	return NewQueue("access log records", limit, func(logs plog.Logs) int { return recordBytes * logs.LogRecordCount() },
		func(ctx context.Context, logs plog.Logs, _ int) error { return consume(ctx, logs) })
}

// refuser refuses some batches, and keeps what it was given.
type refuser struct {
	errors []error
	given  []int64
}

func (r *refuser) consume(_ context.Context, logs plog.Logs) error {
	r.given = append(r.given, bodies(logs)...)
	if len(r.errors) == 0 {
		return nil
	}
	err := r.errors[0]
	r.errors = r.errors[1:]
	return err
}

// A second try of a batch would duplicate it in the destinations of a fan-out that accepted it.
func TestARefusedBatchIsCountedAndNotTriedAgain(t *testing.T) {
	for name, refusal := range map[string]error{
		"for now":       errRefused,
		"for good":      consumererror.NewPermanent(errRefused),
		"in part":       consumererror.NewLogs(errRefused, batchOf(2, 1)),
		"wait, it says": consumererror.NewOTLPHTTPError(errRefused, 429),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &refuser{errors: []error{refusal}}
				d := newLogs(0, r.consume)
				d.Start()
				begun := time.Now()
				d.Offer(batchOf(1, 3), 3)
				d.Offer(batchOf(4, 2), 2)
				require.NoError(t, d.Shutdown(t.Context()))
				require.Zero(t, time.Since(begun), "the batch behind it does not wait")
				require.Equal(t, []int64{1, 2, 3, 4, 5}, r.given)
				require.Equal(t, QueueStats{Delivered: 2, DroppedRefused: 3}, d.Stats())
			})
		})
	}
}

func TestBatchesArriveInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, r := make(chan struct{}), &refuser{}
		d := newLogs(0, func(ctx context.Context, logs plog.Logs) error {
			<-release
			return r.consume(ctx, logs)
		})
		d.Start()
		require.True(t, d.Idle())
		for i := range 5 {
			d.Offer(batchOf(2*i, 2), 2)
			synctest.Wait()
		}
		require.Equal(t, 10, d.Stats().Queued)
		require.False(t, d.Idle())
		close(release)
		require.NoError(t, d.Shutdown(t.Context()))
		require.Equal(t, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, r.given)
		require.Equal(t, QueueStats{Delivered: 10}, d.Stats())
	})
}

func TestAFullQueueDropsAndCountsAndNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		delivered, four := 0, 4*recordBytes
		d := newLogs(2*four+1, func(_ context.Context, logs plog.Logs) error {
			<-release
			delivered += logs.LogRecordCount()
			return nil
		})
		d.Start()
		for range 5 {
			d.Offer(batchOf(0, 4), 4)
			synctest.Wait()
		}
		require.Equal(t, QueueStats{Queued: 8, QueuedBytes: 2 * four, DroppedQueueFull: 12}, d.Stats())
		close(release)
		synctest.Wait()
		d.Offer(batchOf(0, 400), 400) // an empty queue takes any batch
		require.NoError(t, d.Shutdown(t.Context()))
		require.Equal(t, 408, delivered)
		require.Equal(t, QueueStats{Delivered: 408, DroppedQueueFull: 12}, d.Stats())
	})
}

func TestLogShutdownEndsAtItsDeadlineAndCountsWhatIsLeft(t *testing.T) {
	for name, heeds := range map[string]bool{"the consumer heeds its context": true, "the consumer does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				d := newLogs(0, func(ctx context.Context, _ plog.Logs) error {
					if heeds {
						<-ctx.Done()
						return ctx.Err()
					}
					<-release
					return nil
				})
				d.Start()
				d.Offer(batchOf(0, 4), 4)
				d.Offer(batchOf(4, 2), 2)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begun := time.Now()
				err := d.Shutdown(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "deliver the last 6 access log records")
				require.Equal(t, 3*time.Second, time.Since(begun))
				require.Equal(t, QueueStats{DroppedShutdown: 6}, d.Stats(), "at once: nobody waits for the consumer")
				d.Offer(batchOf(0, 1), 1)
				require.Equal(t, QueueStats{DroppedShutdown: 7}, d.Stats())
				require.NoError(t, d.Shutdown(ctx), "a second time does nothing")
				close(release)
				synctest.Wait()
				require.Equal(t, QueueStats{DroppedShutdown: 7}, d.Stats(), "what ends later is not counted twice")
			})
		})
	}
}

func TestLogShutdownBeforeStartDoesNothing(t *testing.T) {
	d := newLogs(0, nil)
	require.NoError(t, d.Shutdown(t.Context()))
	d.Start() // must not begin any more
}
