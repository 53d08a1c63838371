// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// unsettledWorld knows nothing of httpbin yet.
func unsettledWorld() *world {
	w := newWorld()
	delete(w.Workloads, httpbinAddr.Addr())
	w.Unsettled = map[netip.Addr]bool{httpbinAddr.Addr(): true}
	return w
}

func settling() Settings { return Settings{Scope: ScopeAll, Settle: 5 * time.Second} }

func TestARecordWaitsForItsIdentity(t *testing.T) {
	w, out := unsettledWorld(), &sink{}
	n := New(settling(), w, nil, out)
	c := closedConnection()
	n.Add(c, noon)
	*c = flow.Connection{} // its owner uses it for the next record
	n.Settle(noon.Add(time.Second))
	require.Equal(t, 1, n.Stats().Waiting)
	require.Empty(t, out.lines)

	w.Learn(httpbinAddr.Addr(), httpbinPod)
	n.Settle(noon.Add(2 * time.Second))
	stats := n.Stats()
	require.Zero(t, stats.Waiting)
	require.Zero(t, stats.SettleExpired)
	l := out.one(t)
	require.Same(t, httpbinPod, l.flow.Destination)
	require.Equal(t, noon, l.flow.Observed)
	require.Equal(t, noon.Add(2*time.Second), l.now)
	require.Equal(t, *closedConnection(), l.connection)
}

func TestARecordThatWaitedLongEnoughCountsAsUnknown(t *testing.T) {
	w, out := unsettledWorld(), &sink{}
	n := New(settling(), w, nil, out)
	n.Add(closedConnection(), noon)
	n.Settle(noon.Add(5*time.Second - 1))
	require.Equal(t, 1, n.Stats().Waiting)
	n.Settle(noon.Add(5 * time.Second))
	require.Equal(t, uint64(1), n.Stats().SettleExpired)
	l := out.one(t)
	require.Nil(t, l.flow.Destination)
	require.Same(t, sleepPod, l.flow.Source)
}

func TestAnIdentityThatComesAtTheLastMomentIsNotTooLate(t *testing.T) {
	w, out := unsettledWorld(), &sink{}
	n := New(settling(), w, nil, out)
	n.Add(closedConnection(), noon)
	w.Learn(httpbinAddr.Addr(), httpbinPod)
	n.Settle(noon.Add(time.Hour))
	require.Zero(t, n.Stats().SettleExpired)
	require.Same(t, httpbinPod, out.one(t).flow.Destination)
}

func TestWaitingRecordsAreTriedAgainOnlyWhenSomebodyCameOrWent(t *testing.T) {
	w := unsettledWorld()
	n := New(settling(), w, nil)
	n.Add(closedConnection(), noon)
	asked := len(w.Asked)
	for range 10 {
		n.Settle(noon)
	}
	require.Len(t, w.Asked, asked)
	w.Changes++ // somebody else came
	n.Settle(noon)
	require.Len(t, w.Asked, asked+2)
	require.Equal(t, 1, n.Stats().Waiting)
}

func TestNothingWaitsWithoutSettle(t *testing.T) {
	settings, out := settling(), &sink{}
	settings.Settle = 0
	n := New(settings, unsettledWorld(), nil, out)
	n.Add(closedConnection(), noon)
	require.Zero(t, n.Stats().Waiting)
	require.Len(t, out.lines, 1)
}

func TestWhenTooManyWaitTheOldestCounts(t *testing.T) {
	settings, out := settling(), &sink{}
	settings.SettleLimit = 3
	n := New(settings, unsettledWorld(), nil, out)
	for id := range uint64(5) {
		c := closedConnection()
		c.ID = id + 1
		n.Add(c, noon)
	}
	require.Equal(t, 3, n.Stats().Waiting)
	require.Equal(t, uint64(2), n.Stats().SettleRefused)
	require.Equal(t, []uint64{1, 2}, out.ids())
	n.Drain(noon)
	require.Equal(t, []uint64{1, 2, 3, 4, 5}, out.ids())
	require.Zero(t, n.Stats().Waiting)
}

func TestRecordsOfOneEndKeepTheirOrder(t *testing.T) {
	w, out := unsettledWorld(), &sink{}
	n := New(settling(), w, nil, out)
	n.Add(openConnection(7, 1, time.Second), noon)
	w.Learn(httpbinAddr.Addr(), httpbinPod)
	other := closedConnection()
	other.ID, other.Opened = 9, false
	n.Add(other, noon)
	c := closedConnection()
	c.Opened = false
	n.Add(c, noon) // known by now, but its opening waits
	require.Equal(t, 2, n.Stats().Waiting)
	require.Equal(t, []uint64{9}, out.ids())
	n.Settle(noon)
	require.Equal(t, []uint64{9, 7, 7}, out.ids())
	require.Equal(t, []flow.Event{flow.EventClosed, flow.EventOpen, flow.EventClosed}, out.events())
	n.Add(c, noon)
	require.Zero(t, n.Stats().Waiting)
}

func TestAnOldConnectionDoesNotWait(t *testing.T) {
	settings, out := settling(), &sink{}
	n := New(settings, unsettledWorld(), nil, out)
	n.Add(openConnection(7, 1, settings.Settle-time.Millisecond), noon)
	require.Equal(t, 1, n.Stats().Waiting)
	c := closedConnection()
	c.ID, c.Start = 9, noon.Add(-settings.Settle)
	n.Add(c, noon)
	require.Equal(t, 1, n.Stats().Waiting)
	require.Equal(t, []uint64{9}, out.ids())
}

func TestAggregatesDoNotWaitForEachOther(t *testing.T) {
	n := New(settling(), unsettledWorld(), nil)
	c := flow.Connection{
		Event: flow.EventRecovered, Start: noon, Source: sleepAddr, Destination: httpbinAddr, Delta: flow.Counters{flow.Sent: 1},
	}
	n.Add(&c, noon)
	c.Destination = sleepAddr
	n.Add(&c, noon)
	require.Equal(t, 1, n.Stats().Waiting)
}

// With the defaults an interval is as long as Settle. A record that waited behind the one before it was always an interval
// late, and so was the next.
func TestARecordOfAnOldConnectionDoesNotWaitBehindItsPredecessor(t *testing.T) {
	settings, out := settling(), &sink{}
	n := New(settings, unsettledWorld(), nil, out)
	other := closedConnection()
	other.ID = 9
	n.Add(other, noon)
	for interval := range 10 {
		c := openConnection(7, 1, 0)
		c.Start = noon
		c.Total = flow.Counters{flow.Sent: int64(interval)}
		n.Add(c, noon.Add(200*time.Millisecond+time.Duration(interval)*settings.Settle))
		if interval > 0 {
			require.Len(t, out.lines, interval+1, "each at once, the first one before the second")
			require.Equal(t, 1, n.Stats().Waiting, "the other end's")
		}
	}
	for i, l := range out.lines {
		require.Equal(t, int64(i), l.connection.Total[flow.Sent])
	}
	require.Equal(t, uint64(1), n.Stats().SettleExpired)
}

// fuzzed ends and steps: what the queue holds is what a plain list would.
func FuzzQueue(f *testing.F) {
	f.Add([]byte("aabbccPPaabbTaTbTcS"))
	f.Add([]byte{1, 1, 2, 1, 1, 'R', 1, 2, 1, 'R', 1, 0, 2, 'R', 2, 3, 'S', 'R', 1, 3, 'P'})
	f.Add([]byte{1, 2, 3, 1, 2, 3, 'T', 1, 'P', 'S', 1, 1, 1, 'T', 1})
	f.Fuzz(func(t *testing.T, steps []byte) {
		type item struct{ id, n uint64 }
		var model []item
		q := newQueue(1 << 20)
		number := func(w *waiting) item { return item{w.connection.ID, uint64(w.connection.Total[flow.Sent])} }
		for i := 0; i < len(steps); i++ {
			switch step := steps[i]; {
			case step == 'P' && len(model) > 0:
				require.Equal(t, model[0], number(q.oldest()))
				q.pop()
				model = model[1:]
			case step == 'T' && i+1 < len(steps):
				i++
				id := uint64(steps[i] % 8)
				var got, want, rest []item
				q.take(id, func(w *waiting) { got = append(got, number(w)) })
				for _, one := range model {
					if one.id == id && id != 0 {
						want = append(want, one)
					} else {
						rest = append(rest, one)
					}
				}
				require.Equal(t, want, got)
				model = rest
			case step == 'R' && i+2 < len(steps):
				id, first := uint64(steps[i+1]%8), int(steps[i+2]%4)
				i += 2
				var got, want, rest []item
				q.retry(id, func(w *waiting) bool {
					got = append(got, number(w))
					return len(got) <= first
				})
				for _, one := range model {
					if one.id != id || id == 0 {
						rest = append(rest, one)
						continue
					}
					if len(want) > first {
						rest = append(rest, one)
						continue
					}
					want = append(want, one)
					if len(want) > first {
						rest = append(rest, one)
					}
				}
				require.Equal(t, want, got)
				model = rest
			case step == 'S':
				var got []item
				q.sweep(func(w *waiting) bool {
					got = append(got, number(w))
					return w.connection.Total[flow.Sent]%3 == 0
				})
				require.Equal(t, append([]item(nil), model...), got)
				model = slices.DeleteFunc(slices.Clone(model), func(one item) bool { return one.n%3 == 0 })
			default:
				id := uint64(step % 8)
				q.push(&flow.Connection{ID: id, Total: flow.Counters{flow.Sent: int64(i)}}, noon, noon)
				model = append(model, item{id, uint64(i)})
			}
			require.Equal(t, len(model), q.len())
			for id := range uint64(8) {
				held := slices.ContainsFunc(model, func(one item) bool { return one.id == id })
				require.Equal(t, held && id != 0, q.holds(id))
			}
		}
		for _, one := range model {
			require.Equal(t, one, number(q.oldest()))
			q.pop()
		}
		require.Empty(t, q.ends)
	})
}

func TestTheQueueGivesBackWhatItTook(t *testing.T) {
	q := newQueue(1 << 20)
	next, want := uint64(1), uint64(1)
	for round := range 200 {
		for range round % 17 {
			q.push(&flow.Connection{ID: next}, noon, noon)
			require.True(t, q.holds(next))
			next++
		}
		for range min(round%13, q.len()) {
			require.Equal(t, want, q.oldest().connection.ID)
			q.pop()
			require.False(t, q.holds(want))
			want++
		}
		if round%29 == 0 {
			var seen []uint64
			q.sweep(func(w *waiting) bool { seen = append(seen, w.connection.ID); return false })
			require.Len(t, seen, int(next-want))
		}
	}
	q.sweep(func(w *waiting) bool { return w.connection.ID%2 == 0 })
	for q.len() > 0 {
		require.Equal(t, uint64(1), q.oldest().connection.ID%2)
		q.pop()
	}
	require.Empty(t, q.ends)
}
