// SPDX-License-Identifier: Apache-2.0

package series

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// idle is a report of an end that nothing moved on since the one at previous.
func idle(id uint64, previous, at time.Time) *flow.Connection {
	c := openConnection(id, 1, time.Second)
	c.Opened, c.Delta, c.Total, c.Previous, c.At = false, flow.Counters{}, flow.Counters{}, previous, at
	return c
}

// over is the report of an end's close.
func over(id uint64, previous, at time.Time) *flow.Connection {
	c := idle(id, previous, at)
	c.Event, c.Delta = flow.EventClosed, flow.Counters{flow.Closed: 1}
	return c
}

func TestEndsThatTheKernelHidAreNotOpenAfterARecount(t *testing.T) {
	a := newSubject(Settings{
		Enabled: enable(Service, Workload, Istio, Latency, Connection), UnknownAddresses: 1 << 20, Expiration: time.Minute,
	}, newWorld())
	a.began = noon.Add(-time.Hour)
	for id := range uint64(3) {
		a.Add(openConnection(id+1, 1, time.Second), noon)
	}
	at := noon.Add(time.Second)
	a.Recount(at)
	late := openConnection(4, 1, time.Second) // read before the recount, and named only now
	a.Add(late, at)
	a.Add(idle(1, noon, at.Add(1)), at)
	a.Add(idle(1, at.Add(1), at.Add(2)), at) // the next collection
	a.Add(idle(4, noon, at.Add(1)), at)
	a.Add(over(2, noon, at.Add(1)), at)
	began := openConnection(5, 1, 0)
	began.Start, began.At = at.Add(1), at.Add(2)
	a.Add(began, at)
	snap := a.Snapshot(at)
	require.Equal(t, []int64{4}, active(snap), "1, 4, 5, and 3, whose end nobody saw")
	a.Delivered(snap.ID())
	a.Recounted(at, true)
	snap = a.Snapshot(at.Add(time.Second))
	require.Equal(t, []int64{3}, active(snap))
	require.Len(t, snap.Connection.Ended, 2, "that of 2, and that of 3")
	require.Equal(t, flow.Counters{flow.Opened: 5, flow.Closed: 1, flow.Sent: 50}, a.counted, "counters are as they were")
	a.Delivered(snap.ID())

	a.Add(over(3, noon, at.Add(2)), at) // after all: it cannot be, as the kernel forgot it
	a.Recount(at.Add(3))
	for _, id := range []uint64{1, 4, 5} {
		a.Add(idle(id, noon, at.Add(4)), at)
	}
	a.Recounted(at, true)
	require.Equal(t, []int64{3}, active(a.Snapshot(at.Add(3*time.Second))))
	for _, id := range []uint64{1, 4, 5} {
		a.Add(over(id, noon, at.Add(5)), at)
	}
	snap = a.Snapshot(at.Add(4 * time.Second))
	require.Equal(t, []int64{0}, active(snap))
	a.Delivered(snap.ID())
	snap = a.Snapshot(at.Add(time.Hour))
	for _, p := range []Points{snap.Service, snap.Workload, snap.Istio, snap.Latency} {
		require.Empty(t, p.Live)
		require.Len(t, p.Ended, 1)
	}
}

func TestARecountThatIsNotCompleteChangesNothing(t *testing.T) {
	a := newLatency()
	a.Add(openConnection(1, 1, time.Second), noon)
	a.Recount(noon.Add(time.Second))
	a.Recounted(noon, false)
	require.Equal(t, []int64{1}, active(a.Snapshot(noon.Add(2*time.Second))))
	a.Add(over(1, noon, noon.Add(2*time.Second)), noon)
	require.Equal(t, []int64{0}, active(a.Snapshot(noon.Add(3*time.Second))))
}

// Reports arrive late, each end's in their order, while ends open, close and vanish. Afterwards what is active is what is open.
func TestRecountsAreExactWhateverHappensMeanwhile(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		a := newSubject(Settings{
			Enabled: enable(Latency), UnknownAddresses: 1 << 20, CardinalityLimit: 1 + random.IntN(3),
		}, newWorld())
		a.began = noon.Add(-time.Hour)
		const ticks, recountAt, delay = 400, 200, 50
		type report struct {
			arrives int
			c       *flow.Connection
		}
		var reports []report
		open := int64(0)
		when := func(tick int) time.Time { return noon.Add(time.Duration(tick) * time.Millisecond) }
		for id := range uint64(40) {
			starts := random.IntN(ticks - 1)
			ends := starts + 1 + random.IntN(ticks)
			hidden := ends < recountAt && random.IntN(3) == 0 // before the recount: it is for these
			reversed := random.IntN(2) == 0                   // a series of its own
			previous, arrives := time.Time{}, 0
			add := func(c *flow.Connection, tick int) {
				c.ID, c.Start, c.At, c.Previous = id+1, when(starts), when(tick).Add(time.Microsecond), previous
				c.Opened, c.Delta[flow.Opened] = previous.IsZero(), 0
				if c.Opened {
					c.Delta[flow.Opened] = 1
				}
				if reversed {
					c.Source, c.Destination = c.Destination, c.Source
				}
				previous = c.At
				arrives = max(arrives, tick+random.IntN(delay))
				reports = append(reports, report{arrives, c})
			}
			for tick := starts; tick < min(ends, ticks); tick++ {
				recounted := tick == recountAt || tick == recountAt+20
				if recounted || random.IntN(60) == 0 || ends < ticks && hidden && tick == ends-1 {
					add(idle(0, time.Time{}, time.Time{}), tick)
				}
			}
			switch {
			case ends < ticks && !hidden:
				add(over(0, time.Time{}, time.Time{}), ends)
			case ends >= ticks && previous.IsZero():
				add(idle(0, time.Time{}, time.Time{}), ticks)
				open++
			case ends >= ticks:
				open++
			}
		}
		slices.SortStableFunc(reports, func(a, b report) int { return a.arrives - b.arrives })
		next := 0
		for tick := range ticks + delay + 1 {
			if tick == recountAt {
				a.Recount(when(tick))
			}
			for ; next < len(reports) && reports[next].arrives <= tick; next++ {
				a.Add(reports[next].c, when(tick))
			}
			if tick == recountAt+20+delay {
				a.Recounted(when(tick), true)
			}
		}
		require.Len(t, reports, next)
		sum := int64(0)
		for _, n := range active(a.Snapshot(when(2 * ticks))) {
			sum += n
		}
		require.Equal(t, open, sum)
	}
}
