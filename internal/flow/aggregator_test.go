// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestClosedConnectionCountsInBothSets(t *testing.T) {
	a := New(everything(), newWorld(), nil)
	a.Add(closedConnection(), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	want := Counters{Opened: 1, Closed: 1, Sent: 5, Received: 231, Retransmits: 3, Lost: 2}
	for _, p := range []Points{snap.Service, snap.Workload} {
		require.Equal(t, want, one(t, p).Values)
		require.False(t, one(t, p).Failure)
	}
}

func TestFailedConnectCountsOnASeriesOfItsOwn(t *testing.T) {
	a := New(everything(), newWorld(), nil)
	opened := closedConnection()
	opened.Direction = Outbound
	a.Add(opened, noon)
	a.Add(failedConnection(), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Empty(t, snap.Connection.Live)
	for _, p := range []Points{snap.Service, snap.Workload} {
		require.Len(t, p.Live, 2)
		normal, failure := p.Live[0], p.Live[1]
		require.Equal(t, "-", label(t, normal, "response_flags"))
		require.Zero(t, normal.Values[Failed])
		require.Equal(t, int64(3), normal.Values[Retransmits])
		require.False(t, normal.Failure)
		require.Equal(t, "CONNECT", label(t, failure, "response_flags"))
		require.Equal(t, Counters{Failed: 1, Retransmits: 4}, failure.Values)
		require.True(t, failure.Failure)
	}
}

func TestRecoveredTotalsCountWhereTheirRecordsWouldHave(t *testing.T) {
	a := New(everything(), newWorld(), nil)
	a.Add(&Connection{
		Event: EventRecovered, Source: sleepAddr, Destination: httpbinAddr, Start: noon, At: noon,
		Delta: Counters{Opened: 4, Closed: 3, Failed: 2, Sent: 100, Received: 200, Retransmits: 5, Lost: 1},
	}, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Empty(t, snap.Connection.Live)
	for _, p := range []Points{snap.Service, snap.Workload} {
		require.Len(t, p.Live, 2)
		require.Equal(t, Counters{Failed: 2}, p.Live[0].Values)
		require.True(t, p.Live[0].Failure)
		require.Equal(t, Counters{Opened: 4, Closed: 3, Sent: 100, Received: 200, Retransmits: 5, Lost: 1}, p.Live[1].Values)
	}
}

func TestASumNeverFallsAndEndsExact(t *testing.T) {
	a := New(everything(), newWorld(), nil)
	add := func(delta Counters) int64 {
		a.Add(&Connection{ID: 1, Source: sleepAddr, Destination: httpbinAddr, Delta: delta}, noon)
		return one(t, a.Snapshot(noon).Service).Values[Received]
	}
	require.Equal(t, int64(101), add(Counters{Received: 101})) // the FIN counted for a moment
	require.Equal(t, int64(101), add(Counters{Received: -1}))
	require.Equal(t, int64(107), add(Counters{Received: 7}))
}

func TestIdleReportKeepsNoSeries(t *testing.T) {
	a := New(everything(), newWorld(), nil)
	a.Add(&Connection{ID: 1, Source: sleepAddr, Destination: httpbinAddr, Total: Counters{Sent: 10}}, noon)
	require.Empty(t, a.Snapshot(noon).Service.Live)
}

func TestOnlyTheSetsThatAreOn(t *testing.T) {
	for name, settings := range map[string]Settings{
		"none":       {Scope: ScopeAll},
		"service":    {Scope: ScopeAll, ServiceMetrics: true},
		"workload":   {Scope: ScopeAll, WorkloadMetrics: true},
		"connection": {Scope: ScopeAll, ConnectionMetrics: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(settings, newWorld(), nil)
			a.Add(closedConnection(), noon)
			snap := a.Snapshot(noon.Add(time.Second))
			require.Equal(t, settings.ServiceMetrics, len(snap.Service.Live) == 1)
			require.Equal(t, settings.WorkloadMetrics, len(snap.Workload.Live) == 1)
			require.Equal(t, settings.ConnectionMetrics, len(snap.Connection.Live) == 1)
			require.Equal(t, name == "none", snap.Empty())
		})
	}
}

func TestScopeKnownNeedsOneKnownEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		scope               Scope
		source, destination *identity.Workload
		counted             int64
	}{
		"both known":               {ScopeKnown, sleepPod, httpbinPod, 1},
		"source known":             {ScopeKnown, sleepPod, nil, 1},
		"destination known":        {ScopeKnown, nil, httpbinPod, 1},
		"nobody known":             {ScopeKnown, nil, nil, 0},
		"nobody known, all wanted": {ScopeAll, nil, nil, 1},
		"source known, all wanted": {ScopeAll, sleepPod, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, log, settings := newWorld(), &sink{}, everything()
			w.workloads[sleepAddr.Addr()], w.workloads[httpbinAddr.Addr()] = tt.source, tt.destination
			settings.Scope = tt.scope
			a := New(settings, w, log)
			a.Add(closedConnection(), noon)
			require.Equal(t, tt.counted, total(a.Snapshot(noon).Service.Live)[Closed])
			require.Len(t, log.lines, int(tt.counted))
			stats := a.Stats()
			require.Equal(t, tt.counted, stats.Counted[Closed])
			require.Equal(t, 1-tt.counted, stats.OutOfScope[Closed])
			require.Equal(t, uint64(1-tt.counted), stats.OutOfScopeRecords)
			require.Equal(t, tt.source == nil, stats.UnknownSource == 1)
			require.Equal(t, tt.destination == nil, stats.UnknownDestination == 1)
		})
	}
}

func TestEndsAreAskedForAsOfTheStartAndWithTheirProcess(t *testing.T) {
	for _, direction := range []Direction{Outbound, Inbound} {
		w := newWorld()
		a := New(everything(), w, nil)
		c := closedConnection()
		c.Direction = direction
		a.Add(c, noon)
		require.Len(t, w.asked, 2)
		source, destination := w.asked[0], w.asked[1]
		require.Equal(t, sleepAddr, source.end.Address)
		require.Equal(t, httpbinAddr, destination.end.Address)
		require.Equal(t, httpbinAddr, source.end.Peer)
		require.Equal(t, sleepAddr, destination.end.Peer)
		require.False(t, source.end.Server)
		require.True(t, destination.end.Server)
		require.Equal(t, direction == Outbound, source.end.Local != nil)
		require.Equal(t, direction == Inbound, destination.end.Local != nil)
		require.Equal(t, c.Start, source.at)
		require.Equal(t, c.Start, destination.at)
	}
}

func TestExportedFollowsDelivery(t *testing.T) {
	a := New(everything(), newWorld(), nil)
	a.Add(closedConnection(), noon)
	first := a.Snapshot(noon)
	a.Add(closedConnection(), noon)
	require.Zero(t, a.Stats().Exported[Closed])
	a.Delivered(first.ID)
	require.Equal(t, int64(1), a.Stats().Exported[Closed])
	require.Equal(t, int64(2), a.Stats().Counted[Closed])
	a.Delivered(99) // none of ours
	require.Equal(t, int64(1), a.Stats().Exported[Closed])
	a.Delivered(a.Snapshot(noon).ID)
	require.Equal(t, int64(2), a.Stats().Exported[Closed])
}

func TestKnownSeriesCostNoAllocation(t *testing.T) {
	w := newWorld()
	w.silent = true
	settings := everything()
	a := New(settings, w, discard{})
	closed, failed, open := closedConnection(), failedConnection(), openConnection(3, 2, time.Minute)
	unnamed := closedConnection()
	unnamed.Source, unnamed.Destination = strangeAddr, strangeAddr
	records := []*Connection{closed, failed, open, unnamed}
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
	w.silent = true
	settings := everything()
	settings.ConnectionMetrics = false
	a := New(settings, w, nil)
	c := closedConnection()
	b.ReportAllocs()
	for b.Loop() {
		a.Add(c, noon)
	}
}

func BenchmarkSnapshotOf100000Series(b *testing.B) {
	a := New(Settings{Scope: ScopeAll, WorkloadMetrics: true, CardinalityLimit: 200_000, UnknownAddresses: 200_000}, newWorld(), nil)
	manySeries(a, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		a.Snapshot(noon)
	}
}
