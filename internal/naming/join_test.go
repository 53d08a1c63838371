// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

var (
	nodeAddr = netip.MustParseAddrPort("172.18.0.2:40000")
	theNode  = &identity.Workload{
		UID: "node/node-1", Name: "node-1", HostNetwork: true, Node: true,
		Names: identity.Names{Workload: "node-1"}.Handle(),
	}
)

// joining is a world with this node, whose addresses are known as its own.
func joining() (*world, Settings) {
	w, settings := newWorld(), settling()
	w.Workloads[nodeAddr.Addr()] = theNode
	settings.Local = func(a netip.Addr) bool { return a == nodeAddr.Addr() }
	settings.Hops, settings.Node = OmitHops, identity.Netns{Inode: 4026531840}
	return w, settings
}

// ends are the two ends of one connection, each with its whole life in a record.
func ends(client, server uint64) (out, in *flow.Connection) {
	out, in = closedConnection(), closedConnection()
	out.ID, out.Direction, out.ClientISN, out.ServerISN = client, flow.Outbound, uint32(client), uint32(server)
	in.ID, in.Direction, in.ClientISN, in.ServerISN = server, flow.Inbound, uint32(client), uint32(server)
	return out, in
}

// A masqueraded connection has the node's address at the server's end, and a client whose service is translated has no pod without
// connection tracking: each end knows what the other lacks, whichever is read first.
func TestEachEndGetsWhatTheOtherKnows(t *testing.T) {
	for _, clientFirst := range []bool{true, false} {
		w, settings := joining()
		w.Unsettled = map[netip.Addr]bool{serviceAddr.Addr(): true}
		out := &sink{}
		n := New(settings, w, nil, out)
		client, server := ends(7, 8)
		client.Destination, server.Source = serviceAddr, nodeAddr
		first, second := client, server
		if !clientFirst {
			first, second = server, client
		}
		n.Add(first, noon)
		require.Empty(t, out.lines)
		n.Add(second, noon.Add(time.Millisecond))
		require.Len(t, out.lines, 2)
		for _, l := range out.lines {
			require.Same(t, sleepPod, l.flow.Source, l.connection.Direction)
			require.Same(t, httpbinPod, l.flow.Destination, l.connection.Direction)
			require.Same(t, httpbinService, l.flow.Service, l.connection.Direction)
			require.Equal(t, httpbinAddr, l.connection.Destination, l.connection.Direction)
		}
		stats := n.Stats()
		require.Zero(t, stats.Waiting)
		require.Zero(t, stats.Pairs, "both ends are closed")
		require.NotZero(t, stats.Joined)
		require.Zero(t, stats.Unpaired+stats.SettleExpired)
	}
}

func TestARecordWaitsForItsOtherEndForSettleOnceOnly(t *testing.T) {
	w, settings := joining()
	out := &sink{}
	n := New(settings, w, nil, out)
	report := func(nth uint64) *flow.Connection {
		c := openConnection(8, nth, time.Hour) // older than Settle
		c.Direction, c.Source, c.ClientISN, c.ServerISN = flow.Inbound, nodeAddr, 7, 8
		return c
	}
	n.Add(report(1), noon)
	n.Add(report(2), noon.Add(time.Second))
	require.Equal(t, 2, n.Stats().Waiting, "in their order")
	n.Settle(noon.Add(settings.Settle))
	n.Add(report(3), noon.Add(settings.Settle))
	require.Zero(t, n.Stats().Waiting)
	require.Len(t, out.lines, 3)
	require.Same(t, theNode, out.lines[0].flow.Source)
	require.NotZero(t, n.Stats().Unpaired)
}

func TestNothingWaitsThatCannotGainByItsOtherEnd(t *testing.T) {
	remote := *theNode
	remote.Name = "node-2"
	elsewhere := *sleepPod
	elsewhere.Elsewhere = true
	for name, change := range map[string]func(w *world, c *flow.Connection){
		"both ends are pods":    func(*world, *flow.Connection) {},
		"a pod of another node": func(w *world, _ *flow.Connection) { w.Workloads[sleepAddr.Addr()] = &elsewhere },
		"another node":          func(w *world, c *flow.Connection) { c.Source = strangeAddr; w.Workloads[strangeAddr.Addr()] = &remote },
		"somebody outside":      func(_ *world, c *flow.Connection) { c.Source = strangeAddr },
		"no sequence numbers":   func(_ *world, c *flow.Connection) { c.Source, c.ClientISN, c.ServerISN = nodeAddr, 0, 0 },
	} {
		w, settings := joining()
		n := New(settings, w, nil)
		_, in := ends(7, 8)
		change(w, in)
		n.Add(in, noon)
		require.Zero(t, n.Stats().Waiting, name)
	}
}

// Two services lead to one port of a pod. The server's end cannot know which was asked for; a client cannot make it any other's.
func TestTheServiceThatWasAskedForReachesTheServer(t *testing.T) {
	other := &identity.Service{Host: "alias.default.svc.cluster.local", Name: "alias", Namespace: "default"}
	foreign := &identity.Service{Host: "bank.other.svc.cluster.local", Name: "bank", Namespace: "other"}
	ports := []identity.Port{{Service: 8000, Target: 80}}
	for asked, want := range map[*identity.Service]*identity.Service{httpbinService: httpbinService, other: other, foreign: other} {
		w, settings := joining()
		pod := *httpbinPod
		pod.Services = []identity.Membership{{Service: other.Key(), Ports: ports}, {Service: httpbinService.Key(), Ports: ports}}
		w.Workloads[httpbinAddr.Addr()] = &pod
		w.Services = map[netip.AddrPort]*identity.Service{serviceAddr: asked, httpbinAddr: other}
		out := &sink{}
		n := New(settings, w, &nat{from: serviceAddr, to: httpbinAddr}, out)
		client, server := ends(7, 8)
		client.Destination = serviceAddr
		n.Add(server, noon)
		require.Equal(t, 1, n.Stats().Waiting, "any of the two may have been meant")
		n.Add(client, noon)
		require.Len(t, out.lines, 2)
		for _, l := range out.lines {
			if l.connection.Direction == flow.Inbound {
				require.Same(t, want, l.flow.Service)
			}
		}
	}
}

func TestPairsAreBounded(t *testing.T) {
	w, settings := joining()
	settings.PairLimit = 100
	n := New(settings, w, nil)
	for i := range uint64(1000) {
		_, in := ends(2*i+1, 2*i+2)
		n.Add(in, noon)
		require.LessOrEqual(t, n.Stats().Pairs, 100)
		require.GreaterOrEqual(t, n.Stats().Pairs, min(int(i)+1, 50))
	}
	require.Equal(t, uint64(1000), n.Stats().PairsForgotten+uint64(n.Stats().Pairs))
}

func TestACallerOfANodesPortHasServiceAndPod(t *testing.T) {
	nodePort := netip.AddrPortFrom(nodeAddr.Addr(), 30080)
	w, settings := joining()
	w.Services[nodePort] = httpbinService
	out := &sink{}
	n := New(settings, w, &nat{from: nodePort, to: httpbinAddr}, out)
	c := toService()
	c.Destination = nodePort
	n.Add(c, noon)
	l := out.one(t)
	require.Same(t, httpbinService, l.flow.Service)
	require.Same(t, httpbinPod, l.flow.Destination)
	require.Equal(t, nodePort, l.connection.Original)
}

// Another node sends it on, and only that node knows whom to.
func TestANodesPortElsewhereHasServiceAndNobody(t *testing.T) {
	nodePort := netip.AddrPortFrom(nodeAddr.Addr(), 30080)
	w := newWorld()
	w.Workloads[nodeAddr.Addr()] = theNode
	w.Services[nodePort] = httpbinService
	out := &sink{}
	n := New(settling(), w, &nat{}, out)
	c := toService()
	c.Destination = nodePort
	n.Add(c, noon)
	l := out.one(t)
	require.Same(t, httpbinService, l.flow.Service)
	require.Nil(t, l.flow.Destination)
	n.Add(to(netip.AddrPortFrom(nodeAddr.Addr(), 10250)), noon)
	require.Same(t, theNode, out.lines[1].flow.Destination, "what listens there is the node's")
}

// Without the Node the source knows nothing of the address, but this process does.
func TestANodesPortIsTranslatedThoughTheSourceKnowsNoNode(t *testing.T) {
	nodePort := netip.AddrPortFrom(nodeAddr.Addr(), 30080)
	w, settings := joining()
	delete(w.Workloads, nodeAddr.Addr())
	out := &sink{}
	n := New(settings, w, &nat{from: nodePort, to: httpbinAddr}, out)
	c := toService()
	c.Destination = nodePort
	n.Add(c, noon)
	require.Same(t, httpbinPod, out.one(t).flow.Destination)
}

// BenchmarkPair is one connection between two pods of the node: both records.
func BenchmarkPair(b *testing.B) {
	w, settings := joining()
	w.Silent = true
	n := New(settings, w, nil)
	client, server := ends(7, 8)
	b.ReportAllocs()
	for b.Loop() {
		n.Add(client, flowtest.Noon)
		n.Add(server, flowtest.Noon)
	}
}
