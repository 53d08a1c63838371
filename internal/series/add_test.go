// SPDX-License-Identifier: Apache-2.0

package series

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

func TestClosedConnectionCountsInBothSets(t *testing.T) {
	a := newSubject(everything(), newWorld())
	a.Add(closedConnection(), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	want := flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Sent: 5, flow.Received: 231, flow.Retransmits: 3, flow.Lost: 2}
	for _, p := range []Points{snap.Service, snap.Workload} {
		require.Equal(t, want, one(t, p).Values)
		require.False(t, one(t, p).Failure)
	}
}

func TestFailedConnectCountsOnASeriesOfItsOwn(t *testing.T) {
	a := newSubject(everything(), newWorld())
	opened := closedConnection()
	opened.Direction = flow.Outbound
	a.Add(opened, noon)
	a.Add(failedConnection(), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Empty(t, snap.Connection.Live)
	for _, p := range []Points{snap.Service, snap.Workload} {
		require.Len(t, p.Live, 2)
		normal, failure := p.Live[0], p.Live[1]
		require.Equal(t, "-", labelOf(t, normal, "response_flags"))
		require.Zero(t, normal.Values[flow.Failed])
		require.Equal(t, int64(3), normal.Values[flow.Retransmits])
		require.False(t, normal.Failure)
		require.Equal(t, "CONNECT", labelOf(t, failure, "response_flags"))
		require.Equal(t, flow.Counters{flow.Failed: 1, flow.Retransmits: 4}, failure.Values)
		require.True(t, failure.Failure)
	}
}

func TestRecoveredTotalsCountWhereTheirRecordsWouldHave(t *testing.T) {
	a := newSubject(everything(), newWorld())
	a.Add(&flow.Connection{
		Event: flow.EventRecovered, Source: sleepAddr, Destination: httpbinAddr, Start: noon, At: noon,
		Delta: flow.Counters{flow.Opened: 4, flow.Closed: 3, flow.Failed: 2, flow.Sent: 100, flow.Received: 200, flow.Retransmits: 5, flow.Lost: 1},
	}, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Empty(t, snap.Connection.Live)
	for _, p := range []Points{snap.Service, snap.Workload} {
		require.Len(t, p.Live, 2)
		require.Equal(t, flow.Counters{flow.Failed: 2}, p.Live[0].Values)
		require.True(t, p.Live[0].Failure)
		require.Equal(t, flow.Counters{flow.Opened: 4, flow.Closed: 3, flow.Sent: 100, flow.Received: 200, flow.Retransmits: 5, flow.Lost: 1}, p.Live[1].Values)
	}
}

func TestASumNeverFallsAndEndsExact(t *testing.T) {
	a := newSubject(everything(), newWorld())
	add := func(delta flow.Counters) int64 {
		a.Add(&flow.Connection{ID: 1, Source: sleepAddr, Destination: httpbinAddr, Delta: delta}, noon)
		return one(t, a.Snapshot(noon).Service).Values[flow.Received]
	}
	require.Equal(t, int64(101), add(flow.Counters{flow.Received: 101})) // the FIN counted for a moment
	require.Equal(t, int64(101), add(flow.Counters{flow.Received: -1}))
	require.Equal(t, int64(107), add(flow.Counters{flow.Received: 7}))
}

func TestIdleReportKeepsNoSeries(t *testing.T) {
	a := newSubject(everything(), newWorld())
	a.Add(&flow.Connection{ID: 1, Source: sleepAddr, Destination: httpbinAddr, Total: flow.Counters{flow.Sent: 10}}, noon)
	require.Empty(t, a.Snapshot(noon).Service.Live)
}

func TestOnlyTheSetsThatAreOn(t *testing.T) {
	for name, settings := range map[string]Settings{
		"none":       {},
		"service":    {Enabled: enable(Service)},
		"workload":   {Enabled: enable(Workload)},
		"connection": {Enabled: enable(Connection)},
	} {
		t.Run(name, func(t *testing.T) {
			a := newSubject(settings, newWorld())
			a.Add(closedConnection(), noon)
			snap := a.Snapshot(noon.Add(time.Second))
			require.Equal(t, name == "service", len(snap.Service.Live) == 1)
			require.Equal(t, name == "service", a.Holds(Service))
			require.Equal(t, name == "workload", len(snap.Workload.Live) == 1)
			require.Equal(t, name == "workload", a.Holds(Workload))
			require.Equal(t, name == "connection", len(snap.Connection.Live) == 1)
			require.Equal(t, name == "connection", a.Holds(Connection))
			require.Equal(t, name == "none", snap.Empty())
		})
	}
}

func TestExportedFollowsDelivery(t *testing.T) {
	a := newSubject(everything(), newWorld())
	a.Add(closedConnection(), noon)
	first := a.Snapshot(noon)
	a.Add(closedConnection(), noon)
	require.Zero(t, a.Stats().Exported[flow.Closed])
	a.Delivered(first.ID())
	require.Equal(t, int64(1), a.Stats().Exported[flow.Closed])
	require.Equal(t, int64(2), a.Stats().Counted[flow.Closed])
	a.Delivered(99) // none of ours
	require.Equal(t, int64(1), a.Stats().Exported[flow.Closed])
	a.Delivered(a.Snapshot(noon).ID())
	require.Equal(t, int64(2), a.Stats().Exported[flow.Closed])
}

func TestKnownSeriesCostNoAllocation(t *testing.T) {
	w := newWorld()
	w.Silent = true
	settings := everything()
	a := newSubject(settings, w, discard{})
	closed, failed, open := closedConnection(), failedConnection(), openConnection(3, 2, time.Minute)
	unnamed := closedConnection()
	unnamed.Source, unnamed.Destination = strangeAddr, strangeAddr
	records := []*flow.Connection{closed, failed, open, unnamed}
	for _, c := range records {
		a.Add(c, noon)
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for _, c := range records {
			a.Add(c, noon)
		}
	}))
}

func BenchmarkAddToKnownSeries(b *testing.B) {
	w := newWorld()
	w.Silent = true
	settings := everything()
	settings.Enabled = enable(Service, Workload)
	a := newSubject(settings, w)
	c := closedConnection()
	b.ReportAllocs()
	for b.Loop() {
		a.Add(c, noon)
	}
}

func BenchmarkSnapshotOf100000Series(b *testing.B) {
	a := newSubject(Settings{Enabled: enable(Workload), CardinalityLimit: 200_000, UnknownAddresses: 200_000}, newWorld())
	manySeries(a, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		a.Snapshot(noon)
	}
}
