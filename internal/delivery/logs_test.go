// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
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

// refuser refuses as often as it has errors, and keeps what it then takes.
type refuser struct {
	errors []error
	tries  []time.Time
	taken  []int64
	spoil  bool
}

func (r *refuser) downstream() downstream {
	return downstream{mutates: r.spoil, logs: func(_ context.Context, logs plog.Logs) error {
		r.tries = append(r.tries, time.Now())
		got := bodies(logs)
		if r.spoil {
			logs.ResourceLogs().RemoveIf(func(plog.ResourceLogs) bool { return true })
		}
		if len(r.errors) > 0 {
			err := r.errors[0]
			r.errors = r.errors[1:]
			return err
		}
		r.taken = append(r.taken, got...)
		return nil
	}}
}

func repeat(err error, n int) (all []error) {
	for range n {
		all = append(all, err)
	}
	return all
}

func TestRefusedLogs(t *testing.T) {
	partial := consumererror.NewLogs(errRefused, batchOf(2, 1))
	for name, tt := range map[string]struct {
		errors          []error
		taken           []int64
		tries           int
		dropped         uint64
		accept, refused int
	}{
		"taken at once":                {nil, []int64{1, 2, 3}, 1, 0, 3, 0},
		"taken at the third try":       {repeat(errRefused, 2), []int64{1, 2, 3}, 3, 0, 3, 0},
		"refused for good":             {[]error{consumererror.NewPermanent(errRefused)}, nil, 1, 3, 0, 3},
		"refused for good, later":      {[]error{errRefused, consumererror.NewPermanent(errRefused)}, nil, 2, 3, 0, 3},
		"bad request":                  {[]error{consumererror.NewOTLPHTTPError(errRefused, 400)}, nil, 1, 3, 0, 3},
		"too many requests":            {[]error{consumererror.NewOTLPHTTPError(errRefused, 429)}, []int64{1, 2, 3}, 2, 0, 3, 0},
		"in part, the rest taken":      {[]error{partial}, []int64{2}, 2, 0, 3, 0},
		"in part, the rest for good":   {[]error{partial, consumererror.NewPermanent(errRefused)}, nil, 2, 1, 2, 1},
		"in part, permanently, as one": {[]error{consumererror.NewPermanent(partial)}, nil, 1, 1, 2, 1},
	} {
		for _, spoil := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, report := &refuser{errors: tt.errors, spoil: spoil}, &tally{}
					d := NewLogs(LogBounds{}, r.downstream(), report)
					d.Start()
					d.Offer(batchOf(1, 3), 3)
					require.NoError(t, d.Shutdown(t.Context()))
					require.Equal(t, tt.taken, r.taken)
					require.Len(t, r.tries, tt.tries)
					require.Equal(t, LogStats{Delivered: 3 - tt.dropped, DroppedRefused: tt.dropped}, d.Stats())
					require.Equal(t, tally{accepted: tt.accept, refused: tt.refused}, *report)
				})
			})
		}
	}
}

func TestRetriesGrowRarerAndEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &refuser{errors: repeat(errRefused, 1000)}
		d := NewLogs(LogBounds{
			InitialInterval: 100 * time.Millisecond, MaxInterval: 2 * time.Second, MaxElapsed: time.Minute,
		}, r.downstream(), &tally{})
		begun := time.Now()
		d.Start()
		d.Offer(batchOf(1, 3), 3)
		require.NoError(t, d.Shutdown(t.Context()))
		require.LessOrEqual(t, time.Since(begun), time.Minute)
		require.Greater(t, time.Since(begun), 55*time.Second)
		require.Less(t, r.tries[1].Sub(r.tries[0]), 200*time.Millisecond)
		n := len(r.tries)
		require.Greater(t, r.tries[n-1].Sub(r.tries[n-2]), 900*time.Millisecond)
		require.InDelta(t, 35, n, 15)
		require.Equal(t, LogStats{DroppedRefused: 3}, d.Stats())
	})
}

func TestTheDownstreamSaysWhenToTryAgain(t *testing.T) {
	busy, err := status.New(codes.Unavailable, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(17 * time.Second)})
	require.NoError(t, err)
	for name, refusal := range map[string]error{
		"plain gRPC": busy.Err(),
		"classified": consumererror.NewOTLPGRPCError(errRefused, busy),
		"wrapped":    errors.Join(errRefused, busy.Err()),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &refuser{errors: []error{refusal}}
				d := NewLogs(LogBounds{}, r.downstream(), &tally{})
				d.Start()
				d.Offer(batchOf(1, 1), 1)
				require.NoError(t, d.Shutdown(t.Context()))
				require.Len(t, r.tries, 2)
				require.Equal(t, 17*time.Second, r.tries[1].Sub(r.tries[0]))
			})
		})
	}
}

func TestBatchesArriveInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &refuser{errors: repeat(errRefused, 3)}
		d := NewLogs(LogBounds{}, r.downstream(), &tally{})
		d.Start()
		for i := range 5 {
			d.Offer(batchOf(2*i, 2), 2)
			synctest.Wait()
		}
		require.Equal(t, 10, d.Stats().Queued)
		require.NoError(t, d.Shutdown(t.Context()))
		require.Equal(t, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, r.taken)
	})
}

func TestAFullQueueDropsAndCountsAndNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		delivered := 0
		d := NewLogs(LogBounds{QueueRecords: 10}, downstream{
			logs: func(_ context.Context, logs plog.Logs) error {
				<-release
				delivered += logs.LogRecordCount()
				return nil
			},
		}, &tally{})
		d.Start()
		for range 5 {
			d.Offer(batchOf(0, 4), 4)
			synctest.Wait()
		}
		require.Equal(t, LogStats{Queued: 8, DroppedQueueFull: 12}, d.Stats())
		close(release)
		synctest.Wait()
		d.Offer(batchOf(0, 40), 40) // an empty queue takes any batch
		require.NoError(t, d.Shutdown(t.Context()))
		require.Equal(t, 48, delivered)
		require.Equal(t, LogStats{Delivered: 48, DroppedQueueFull: 12}, d.Stats())
	})
}

func TestLogShutdownEndsAtItsDeadlineAndCountsWhatIsLeft(t *testing.T) {
	for name, block := range map[string]bool{"a downstream that refuses": false, "a downstream that blocks": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := NewLogs(LogBounds{}, downstream{logs: func(ctx context.Context, _ plog.Logs) error {
					if block {
						<-ctx.Done()
					}
					return errRefused
				}}, &tally{})
				d.Start()
				d.Offer(batchOf(0, 4), 4)
				d.Offer(batchOf(4, 2), 2)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begun := time.Now()
				require.ErrorIs(t, d.Shutdown(ctx), context.DeadlineExceeded)
				require.Equal(t, 3*time.Second, time.Since(begun))
				synctest.Wait()
				require.Equal(t, LogStats{DroppedShutdown: 6}, d.Stats())
				d.Offer(batchOf(0, 1), 1)
				require.Equal(t, LogStats{DroppedShutdown: 7}, d.Stats())
				require.NoError(t, d.Shutdown(ctx), "a second time does nothing")
			})
		})
	}
}

func TestLogShutdownReturnsThoughTheConsumerHeedsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := NewLogs(LogBounds{}, downstream{
			logs: func(context.Context, plog.Logs) error { <-release; return nil },
		}, &tally{})
		d.Start()
		d.Offer(batchOf(0, 4), 4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, d.Shutdown(ctx), context.DeadlineExceeded)
		close(release)
	})
}

func TestLogShutdownBeforeStartDoesNothing(t *testing.T) {
	d := NewLogs(LogBounds{}, downstream{}, &tally{})
	require.NoError(t, d.Shutdown(t.Context()))
	d.Start() // must not begin any more
}
