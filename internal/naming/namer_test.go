// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestAFlowGoesToEverySinkInTheirOrder(t *testing.T) {
	first, second := &sink{}, &sink{}
	c := closedConnection()
	New(Settings{}, newWorld(), nil, first, second).Add(c, noon)
	require.Equal(t, first, second)
	l := first.one(t)
	require.Equal(t, flow.Flow{
		Source: sleepPod, Destination: httpbinPod, Service: httpbinService, Observed: noon,
	}, l.flow)
	require.Equal(t, *c, l.connection)

	var order []string
	New(Settings{}, newWorld(), nil, called(func() { order = append(order, "first") }),
		called(func() { order = append(order, "second") })).Add(c, noon)
	require.Equal(t, []string{"first", "second"}, order)
}

// called is a sink that calls itself.
type called func()

func (f called) Add(*flow.Flow, time.Time) { f() }

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
			w, out := newWorld(), &sink{}
			w.Workloads[sleepAddr.Addr()], w.Workloads[httpbinAddr.Addr()] = tt.source, tt.destination
			n := New(Settings{Scope: tt.scope}, w, nil, out)
			n.Add(closedConnection(), noon)
			require.Len(t, out.lines, int(tt.counted))
			require.Equal(t, tt.counted, out.counted()[flow.Closed])
			stats := n.Stats()
			require.Equal(t, 1-tt.counted, stats.OutOfScope[flow.Closed])
			require.Equal(t, uint64(1-tt.counted), stats.OutOfScopeRecords)
			require.Equal(t, tt.source == nil, stats.UnknownSource == 1)
			require.Equal(t, tt.destination == nil, stats.UnknownDestination == 1)
		})
	}
}

func TestEndsAreResolvedAsOfTheStartAndWithTheirProcess(t *testing.T) {
	for _, direction := range []flow.Direction{flow.Outbound, flow.Inbound} {
		w := newWorld()
		c := closedConnection()
		c.Direction = direction
		New(Settings{}, w, nil).Add(c, noon)
		require.Len(t, w.Asked, 2)
		source, destination := w.Asked[0], w.Asked[1]
		if direction == flow.Inbound { // the local end comes first
			source, destination = destination, source
		}
		require.Equal(t, sleepAddr, source.End.Address)
		require.Equal(t, httpbinAddr, destination.End.Address)
		require.Equal(t, httpbinAddr, source.End.Peer)
		require.Equal(t, sleepAddr, destination.End.Peer)
		require.False(t, source.End.Server)
		require.True(t, destination.End.Server)
		require.Equal(t, direction == flow.Outbound, source.End.Local != nil)
		require.Equal(t, direction == flow.Inbound, destination.End.Local != nil)
		require.Equal(t, c.Start, source.At)
		require.Equal(t, c.Start, destination.At)
	}
}

func TestScopeKnownTakesANetworkForNobody(t *testing.T) {
	for name, tt := range map[string]struct {
		source, destination netip.AddrPort
		counted             int64
	}{
		"workload to network":   {sleepAddr, strangeAddr, 1},
		"network to workload":   {strangeAddr, httpbinAddr, 1},
		"network to network":    {strangeAddr, netip.MustParseAddrPort("10.9.9.9:80"), 0},
		"network to nobody":     {strangeAddr, netip.MustParseAddrPort("203.0.113.1:80"), 0},
		"workload to workloads": {sleepAddr, httpbinAddr, 1},
	} {
		t.Run(name, func(t *testing.T) {
			out := &sink{}
			n := New(Settings{Scope: ScopeKnown, Networks: networks()}, newWorld(), nil, out)
			c := closedConnection()
			c.Source, c.Destination = tt.source, tt.destination
			n.Add(c, noon)
			require.Equal(t, tt.counted, out.counted()[flow.Closed])
			require.Equal(t, 1-tt.counted, n.Stats().OutOfScope[flow.Closed])
		})
	}
}

func TestANetworkDoesNotShadowAWorkloadThatIsReportedLater(t *testing.T) {
	for name, reported := range map[string]bool{"reported in time": true, "never reported": false} {
		t.Run(name, func(t *testing.T) {
			w, out := newWorld(), &sink{}
			w.Unsettled = map[netip.Addr]bool{httpbinAddr.Addr(): true}
			delete(w.Workloads, httpbinAddr.Addr())
			n := New(Settings{Settle: 5 * time.Second, Networks: networks()}, w, nil, out)
			c := to(httpbinAddr)
			c.Start = noon.Add(-time.Second)
			n.Add(c, noon)
			require.Equal(t, 1, n.Stats().Waiting)
			want := "corp"
			if reported {
				w.Learn(httpbinAddr.Addr(), httpbinPod)
				want = httpbinPod.Name
			}
			n.Settle(noon.Add(time.Second))
			if !reported {
				require.Equal(t, 1, n.Stats().Waiting)
				n.Settle(noon.Add(5 * time.Second))
			}
			require.Equal(t, want, out.one(t).flow.Destination.Name)
		})
	}
}

func TestNamingCostsNoAllocation(t *testing.T) {
	w := newWorld()
	w.Silent = true
	n := New(Settings{Networks: networks()}, w, &nat{from: serviceAddr, to: httpbinAddr, silent: true}, called(func() {}))
	records := []*flow.Connection{closedConnection(), to(strangeAddr), to(serviceAddr)}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for _, c := range records {
			n.Add(c, noon)
		}
	}))
}

func BenchmarkName(b *testing.B) {
	w := newWorld()
	w.Silent = true
	n := New(Settings{}, w, nil, called(func() {}))
	c := closedConnection()
	b.ReportAllocs()
	for b.Loop() {
		n.Add(c, noon)
	}
}
