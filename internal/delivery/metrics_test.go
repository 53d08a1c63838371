// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
)

var _ MetricsReport = (*receiverhelper.ObsReport)(nil)

var errRefused = errors.New("the next consumer refuses")

// downstream is a next consumer that does what a test wants.
type downstream struct {
	metrics func(context.Context, pmetric.Metrics) error
}

func (downstream) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (d downstream) ConsumeMetrics(ctx context.Context, m pmetric.Metrics) error {
	return d.metrics(ctx, m)
}

// tally is an obsreport that counts.
type tally struct{ started, accepted, refused int }

func (t *tally) StartMetricsOp(ctx context.Context) context.Context { t.started++; return ctx }

func (t *tally) EndMetricsOp(_ context.Context, format string, n int, err error) {
	t.started--
	switch {
	case format != "kmesh":
		panic(format)
	case err == nil:
		t.accepted += n
	default:
		t.refused += n
	}
}

func deliverMetrics(report MetricsReport, consume func(context.Context, pmetric.Metrics) error) *Metrics {
	return NewMetrics(downstream{metrics: consume}, report)
}

// snapshot has parts of so many points.
type snapshot struct {
	id    uint64
	parts []int
}

func snapshotOf(parts ...int) snapshot { return snapshot{id: 1, parts: parts} }

func (s snapshot) ID() uint64 { return s.id }

func (s snapshot) Batches() iter.Seq2[pmetric.Metrics, int] {
	return func(yield func(pmetric.Metrics, int) bool) {
		for _, n := range s.parts {
			metrics := pmetric.NewMetrics()
			points := metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptySum().DataPoints()
			for range n {
				points.AppendEmpty()
			}
			if !yield(metrics, n) {
				return
			}
		}
	}
}

func TestASnapshotIsDeliveredAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		points, report := 0, &tally{}
		d := deliverMetrics(report, func(_ context.Context, m pmetric.Metrics) error {
			points += m.DataPointCount()
			return nil
		})
		d.Start()
		d.Start()
		snap := snapshotOf(8)
		require.True(t, d.Offer(snap))
		require.Equal(t, Result{ID: 1, Parts: 1}, <-d.Results())
		require.Equal(t, 8, points)
		require.Equal(t, tally{accepted: 8}, *report)
		require.NoError(t, d.Shutdown(t.Context(), nil))
	})
}

func TestAnEmptySnapshotIsDeliveredWithoutACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deliverMetrics(&tally{}, func(context.Context, pmetric.Metrics) error { return errRefused })
		d.Start()
		require.True(t, d.Offer(snapshot{id: 4}))
		require.Equal(t, Result{ID: 4}, <-d.Results())
		require.NoError(t, d.Shutdown(t.Context(), nil))
	})
}

// Behind a fan-out one destination refuses and the others accept: they need all parts.
func TestAPartThatIsRefusedDoesNotEndTheSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report, calls, second := &tally{}, 0, errors.New("another one")
		d := deliverMetrics(report, func(context.Context, pmetric.Metrics) error {
			calls++
			return []error{nil, errRefused, second, nil}[calls-1]
		})
		d.Start()
		require.True(t, d.Offer(snapshotOf(1000, 200, 30, 4)))
		r := <-d.Results()
		require.Equal(t, errRefused, r.Err, "the first one")
		require.Equal(t, 4, calls, "each part once")
		require.Equal(t, tally{accepted: 1004, refused: 230}, *report)
		require.NoError(t, d.Shutdown(t.Context(), nil))
	})
}

func TestManySeriesAreDeliveredInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parts []int
		d := deliverMetrics(&tally{}, func(_ context.Context, m pmetric.Metrics) error {
			parts = append(parts, m.DataPointCount())
			return nil
		})
		d.Start()
		require.True(t, d.Offer(snapshotOf(4096, 4)))
		require.NoError(t, (<-d.Results()).Err)
		require.Equal(t, []int{4096, 4}, parts)
		require.NoError(t, d.Shutdown(t.Context(), nil))
	})
}

func TestABlockedDownstreamNeverBlocksTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := deliverMetrics(&tally{}, func(context.Context, pmetric.Metrics) error { <-release; return nil })
		d.Start()
		require.True(t, d.Ready())
		require.True(t, d.Offer(snapshotOf(4)))
		for range 100 {
			require.False(t, d.Ready())
			require.False(t, d.Offer(snapshotOf(4)), "one is in flight")
			synctest.Wait()
		}
		close(release)
		synctest.Wait()
		require.False(t, d.Ready(), "its result was not received")
		<-d.Results()
		require.True(t, d.Ready())
		require.NoError(t, d.Shutdown(t.Context(), nil))
	})
}

func TestShutdownDeliversTheLastSnapshotAfterTheOneInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var points []int
		d := deliverMetrics(&tally{}, func(_ context.Context, m pmetric.Metrics) error {
			time.Sleep(time.Second)
			points = append(points, m.DataPointCount())
			return nil
		})
		d.Start()
		require.True(t, d.Offer(snapshotOf(4)))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.NoError(t, d.Shutdown(ctx, snapshotOf(8)))
		require.Equal(t, []int{4, 8}, points)
		require.NoError(t, d.Shutdown(ctx, snapshotOf(12)), "a second time does nothing")
		require.Len(t, points, 2)
	})
}

func TestShutdownReportsThatTheLastSnapshotWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deliverMetrics(&tally{}, func(context.Context, pmetric.Metrics) error { return errRefused })
		d.Start()
		require.ErrorIs(t, d.Shutdown(t.Context(), snapshotOf(4)), errRefused)
	})
}

func TestShutdownEndsAtItsDeadline(t *testing.T) {
	for name, heeds := range map[string]bool{"the consumer heeds": true, "the consumer does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				d := deliverMetrics(&tally{}, func(ctx context.Context, _ pmetric.Metrics) error {
					if heeds {
						<-ctx.Done()
						return ctx.Err()
					}
					<-release
					return nil
				})
				d.Start()
				require.True(t, d.Offer(snapshotOf(4)))
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begun := time.Now()
				require.ErrorIs(t, d.Shutdown(ctx, snapshotOf(4)), context.DeadlineExceeded)
				require.Equal(t, 3*time.Second, time.Since(begun))
				close(release)
			})
		})
	}
}

func TestShutdownBeforeStartDoesNothing(t *testing.T) {
	d := deliverMetrics(&tally{}, func(context.Context, pmetric.Metrics) error { return errRefused })
	require.NoError(t, d.Shutdown(t.Context(), snapshotOf(4)))
	d.Start() // must not begin any more
}
