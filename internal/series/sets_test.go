// SPDX-License-Identifier: Apache-2.0

package series

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
	"unique"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// manySeries adds a flow from sleep to each of n pods that nobody knows.
func manySeries(a *subject, n int) {
	c := closedConnection()
	for i := range n {
		c.ID = uint64(i + 1)
		c.Destination = netip.AddrPortFrom(address(i), 80)
		a.Add(c, noon)
	}
}

func address(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0xC0000000+uint32(i))
	return netip.AddrFrom4(b)
}

func TestTheLimitSendsFlowsToOneOverflowSeries(t *testing.T) {
	settings := everything()
	settings.CardinalityLimit = 10
	settings.ConnectionMinDuration = time.Second
	a := newSubject(settings, newWorld())
	manySeries(a, 30)
	snap := a.Snapshot(noon.Add(time.Second))
	for name, p := range map[string]Points{"service": snap.Service, "workload": snap.Workload, "connection": snap.Connection} {
		require.Len(t, p.Live, 10, name)
		overflow := p.Live[9]
		require.Equal(t, []string{"otel.metric.overflow=true"}, texts(overflow.Attributes), name)
		require.Equal(t, int64(21*231), overflow.Values[flow.Received], name)
		require.Equal(t, int64(30*231), total(p.Live)[flow.Received], name)
	}
	stats := a.Stats()
	for _, s := range []sink.Set{stats.Service, stats.Workload, stats.Connection} {
		require.Equal(t, sink.Set{Series: 10, Refused: 21}, s)
	}
	manySeries(a, 9) // those that have a series keep it
	require.Equal(t, uint64(21), a.Stats().Service.Refused)
}

func TestALimitOfOneIsTheOverflowSeriesAlone(t *testing.T) {
	settings := everything()
	settings.CardinalityLimit = 1
	a := newSubject(settings, newWorld())
	manySeries(a, 2)
	require.Equal(t, 1, one(t, a.Snapshot(noon).Service).Attributes.Len())
}

func TestAnIdleSeriesEndsOnceItsLastValueWasDelivered(t *testing.T) {
	a := newSubject(everything(), newWorld())
	at := noon
	snapshot := func(later time.Duration) Points {
		at = at.Add(later)
		return a.Snapshot(at).Service
	}
	a.Add(closedConnection(), at)
	require.Len(t, snapshot(time.Second).Live, 1)
	require.Len(t, snapshot(11*time.Minute).Live, 1, "its last value was never delivered")
	a.Delivered(2)
	p := snapshot(time.Second)
	require.Empty(t, p.Live)
	require.Len(t, p.Ended, 1)
	require.Equal(t, int64(231), p.Ended[0].Values[flow.Received])
	require.Len(t, snapshot(time.Second).Ended, 1, "its end was never delivered")
	require.Equal(t, 1, a.Stats().Service.Series)
	a.Delivered(4)
	require.Equal(t, Points{Live: []Point{}}, snapshot(time.Second))
	require.Zero(t, a.Stats().Service.Series)
}

func TestASeriesThatIsUsedDoesNotEnd(t *testing.T) {
	a := newSubject(everything(), newWorld())
	for i := range 5 {
		now := noon.Add(time.Duration(i) * 9 * time.Minute)
		a.Add(closedConnection(), now)
		snap := a.Snapshot(now)
		require.Equal(t, int64(i+1), one(t, snap.Service).Values[flow.Closed])
		a.Delivered(snap.ID())
	}
}

func TestTheSeriesOfAWorkloadThatIsGoneEnds(t *testing.T) {
	w := newWorld()
	a := newSubject(everything(), w)
	a.Add(closedConnection(), noon)
	toStrange := closedConnection()
	toStrange.Destination = strangeAddr
	a.Add(toStrange, noon)
	a.EndGone(func(n unique.Handle[identity.Names]) bool { return n != httpbinPod.Names })
	first := a.Snapshot(noon)
	require.Len(t, first.Service.Live, 2, "its last value was not delivered yet")
	a.Delivered(first.ID())
	snap := a.Snapshot(noon.Add(time.Second))
	for _, p := range []Points{snap.Service, snap.Workload} {
		require.Len(t, p.Ended, 1)
		require.Equal(t, "httpbin", labelOf(t, p.Ended[0], "destination_workload"))
		require.Len(t, p.Live, 1)
		require.Equal(t, "-", labelOf(t, p.Live[0], "destination_workload"))
	}
}

func TestAReturningSeriesStartsAnew(t *testing.T) {
	for name, delivered := range map[string]bool{"end delivered": true, "end not delivered": false} {
		t.Run(name, func(t *testing.T) {
			a := newSubject(everything(), newWorld())
			a.Add(closedConnection(), noon)
			first := a.Snapshot(noon.Add(time.Second))
			a.Delivered(first.ID())
			ended := a.Snapshot(noon.Add(time.Hour))
			require.Len(t, ended.Service.Ended, 1)
			if delivered {
				a.Delivered(ended.ID())
				a.Snapshot(noon.Add(time.Hour + time.Second))
			}
			back := noon.Add(2 * time.Hour)
			a.Add(closedConnection(), back)
			p := one(t, a.Snapshot(back.Add(time.Second)).Service)
			require.Equal(t, back, p.Start.AsTime())
			require.Equal(t, int64(1), p.Values[flow.Closed])
			require.Equal(t, one(t, first.Service).Attributes, p.Attributes)
		})
	}
}

func TestStartIsTheFirstRecordsArrival(t *testing.T) {
	a := newSubject(everything(), newWorld())
	a.Add(closedConnection(), noon)
	a.Add(closedConnection(), noon.Add(3*time.Second))
	snap := a.Snapshot(noon.Add(5 * time.Second))
	require.Equal(t, noon, one(t, snap.Service).Start.AsTime())
	require.Equal(t, noon.Add(5*time.Second), snap.At.AsTime())
}

// Prometheus knows ms: a start in the ms of its first point, or of the end before it, would be lost.
func TestTimesNeverRunBackwardsOrStandStill(t *testing.T) {
	a := newSubject(everything(), newWorld())
	last := int64(0)
	for i, now := range []time.Time{noon, noon, noon.Add(-time.Hour), noon.Add(time.Second), noon.Add(time.Microsecond)} {
		c := closedConnection()
		c.Destination = netip.AddrPortFrom(address(i), 80)
		a.Add(c, now)
		snap := a.Snapshot(now)
		for _, p := range snap.Service.Live {
			require.Less(t, int64(p.Start)/tick, int64(snap.At)/tick)
		}
		newest := snap.Service.Live[i]
		require.Greater(t, int64(newest.Start)/tick, last/tick)
		last = int64(snap.At)
	}
}

func TestDeliveredOutOfOrderChangesNothing(t *testing.T) {
	a := newSubject(everything(), newWorld())
	a.Add(closedConnection(), noon)
	one, two := a.Snapshot(noon), a.Snapshot(noon)
	a.Delivered(two.ID())
	a.Delivered(one.ID())
	require.Len(t, a.Snapshot(noon.Add(time.Hour)).Service.Ended, 1)
}

func TestSetsStayWholeWhileSeriesComeAndGo(t *testing.T) {
	settings := everything()
	settings.Expiration = time.Minute
	a := newSubject(settings, newWorld())
	now := noon
	for round := range 20 {
		c := closedConnection()
		for i := round * 3; i < round*3+10; i++ {
			c.Destination = netip.AddrPortFrom(address(i), 80)
			a.Add(c, now)
		}
		now = now.Add(40 * time.Second)
		a.Delivered(a.Snapshot(now).ID())
		require.LessOrEqual(t, len(a.service.entries), 30)
		require.Len(t, a.service.byKey, len(a.service.entries))
		for i, e := range a.service.entries {
			require.Equal(t, i, e.index)
			require.Same(t, e, a.service.byKey[e.key])
		}
	}
	now = now.Add(time.Hour)
	for range 3 {
		a.Delivered(a.Snapshot(now).ID())
	}
	require.Empty(t, a.service.byKey)
}
