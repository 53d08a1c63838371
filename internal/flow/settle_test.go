// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unsettledWorld knows nothing of httpbin yet.
func unsettledWorld() *world {
	w := newWorld()
	delete(w.workloads, httpbinAddr.Addr())
	w.unsettled = map[netip.Addr]bool{httpbinAddr.Addr(): true}
	return w
}

func settling() Settings {
	s := everything()
	s.Settle = 5 * time.Second
	return s
}

func TestARecordWaitsForItsIdentity(t *testing.T) {
	w, log := unsettledWorld(), &sink{}
	a := New(settling(), w, log)
	c := closedConnection()
	a.Add(c, noon)
	*c = Connection{} // its owner uses it for the next record
	a.Settle(noon.Add(time.Second))
	require.Equal(t, 1, a.Stats().Waiting)
	require.True(t, a.Snapshot(noon.Add(time.Second)).Empty())
	require.Empty(t, log.lines)

	w.learn(httpbinAddr.Addr(), httpbinPod)
	a.Settle(noon.Add(2 * time.Second))
	stats := a.Stats()
	require.Zero(t, stats.Waiting)
	require.Zero(t, stats.SettleExpired)
	p := one(t, a.Snapshot(noon.Add(3*time.Second)).Service)
	require.Equal(t, "httpbin", label(t, p, "destination_workload"))
	require.Equal(t, int64(231), p.Values[Received])
	require.Equal(t, noon.Add(2*time.Second), p.Start.AsTime())
	require.Len(t, log.lines, 1)
	require.Equal(t, noon, log.lines[0].flow.Observed)
	require.Equal(t, *closedConnection(), log.lines[0].connection)
}

func TestARecordThatWaitedLongEnoughCountsAsUnknown(t *testing.T) {
	w := unsettledWorld()
	a := New(settling(), w, nil)
	a.Add(closedConnection(), noon)
	a.Settle(noon.Add(5*time.Second - 1))
	require.Equal(t, 1, a.Stats().Waiting)
	a.Settle(noon.Add(5 * time.Second))
	require.Equal(t, uint64(1), a.Stats().SettleExpired)
	p := one(t, a.Snapshot(noon.Add(6*time.Second)).Service)
	require.Equal(t, "-", label(t, p, "destination_workload"))
	require.Equal(t, "sleep", label(t, p, "source_workload"))
}

func TestAnIdentityThatComesAtTheLastMomentIsNotTooLate(t *testing.T) {
	w := unsettledWorld()
	a := New(settling(), w, nil)
	a.Add(closedConnection(), noon)
	w.learn(httpbinAddr.Addr(), httpbinPod)
	a.Settle(noon.Add(time.Hour))
	require.Zero(t, a.Stats().SettleExpired)
	require.Equal(t, "httpbin", label(t, one(t, a.Snapshot(noon.Add(time.Hour)).Service), "destination_workload"))
}

func TestWaitingRecordsAreTriedAgainOnlyWhenSomebodyCameOrWent(t *testing.T) {
	w := unsettledWorld()
	a := New(settling(), w, nil)
	a.Add(closedConnection(), noon)
	asked := len(w.asked)
	for range 10 {
		a.Settle(noon)
	}
	require.Len(t, w.asked, asked)
	w.generation++ // somebody else came
	a.Settle(noon)
	require.Len(t, w.asked, asked+2)
	require.Equal(t, 1, a.Stats().Waiting)
}

func TestNothingWaitsWithoutSettle(t *testing.T) {
	settings := settling()
	settings.Settle = 0
	a := New(settings, unsettledWorld(), nil)
	a.Add(closedConnection(), noon)
	require.Zero(t, a.Stats().Waiting)
	require.Len(t, a.Snapshot(noon).Service.Live, 1)
}

func TestWhenTooManyWaitTheOldestCounts(t *testing.T) {
	settings, log := settling(), &sink{}
	settings.SettleLimit = 3
	a := New(settings, unsettledWorld(), log)
	for id := range uint64(5) {
		c := closedConnection()
		c.ID = id + 1
		a.Add(c, noon)
	}
	require.Equal(t, 3, a.Stats().Waiting)
	require.Equal(t, uint64(2), a.Stats().SettleRefused)
	require.Equal(t, []uint64{1, 2}, ids(log))
	a.Drain(noon)
	require.Equal(t, []uint64{1, 2, 3, 4, 5}, ids(log))
	require.Zero(t, a.Stats().Waiting)
}

func TestRecordsOfOneEndKeepTheirOrder(t *testing.T) {
	w, log, settings := unsettledWorld(), &sink{}, settling()
	a := New(settings, w, log)
	a.Add(openConnection(7, 1, time.Second), noon)
	w.learn(httpbinAddr.Addr(), httpbinPod)
	other := closedConnection()
	other.ID, other.Opened = 9, false
	a.Add(other, noon)
	c := closedConnection()
	c.Opened = false
	a.Add(c, noon) // known by now, but its opening waits
	require.Equal(t, 2, a.Stats().Waiting)
	require.Equal(t, []uint64{9}, ids(log))
	a.Settle(noon)
	require.Equal(t, []uint64{9, 7, 7}, ids(log))
	require.Equal(t, []Event{EventClosed, EventOpen, EventClosed}, log.events())
	a.Add(c, noon)
	require.Zero(t, a.Stats().Waiting)
}

func TestAnOldConnectionDoesNotWait(t *testing.T) {
	log, settings := &sink{}, settling()
	a := New(settings, unsettledWorld(), log)
	a.Add(openConnection(7, 1, settings.Settle-time.Millisecond), noon)
	require.Equal(t, 1, a.Stats().Waiting)
	c := closedConnection()
	c.ID, c.Start = 9, noon.Add(-settings.Settle)
	a.Add(c, noon)
	require.Equal(t, 1, a.Stats().Waiting)
	require.Equal(t, []uint64{9}, ids(log))
}

func TestAggregatesDoNotWaitForEachOther(t *testing.T) {
	a := New(settling(), unsettledWorld(), nil)
	c := Connection{Event: EventRecovered, Start: noon, Source: sleepAddr, Destination: httpbinAddr, Delta: Counters{Sent: 1}}
	a.Add(&c, noon)
	c.Destination = sleepAddr
	a.Add(&c, noon)
	require.Equal(t, 1, a.Stats().Waiting)
}

func TestTheQueueGivesBackWhatItTook(t *testing.T) {
	q := newQueue(1 << 20)
	next, want := uint64(1), uint64(1)
	for round := range 200 {
		for range round % 17 {
			q.push(&Connection{ID: next}, noon, noon)
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

func (s *sink) events() (all []Event) {
	for _, l := range s.lines {
		all = append(all, l.connection.Event)
	}
	return all
}

func ids(s *sink) (all []uint64) {
	for _, l := range s.lines {
		all = append(all, l.connection.ID)
	}
	return all
}
