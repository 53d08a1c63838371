// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

var (
	proxyAddr   = netip.MustParseAddrPort("127.0.0.1:15001")
	theirs      = identity.Netns{Inode: 4026532008}
	application = uint32(100)
	proxy       = uint32(101)
)

// taken are the two ends of a connection that the proxy of the client's pod took.
func taken(client, server uint64) (out, in *flow.Connection) {
	out, in = ends(client, server)
	in.Destination = proxyAddr
	out.Netns, in.Netns = theirs, theirs
	out.Local.PID = application
	return out, in
}

func TestAHopIsReportedWhereItIsWanted(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		for _, clientFirst := range []bool{false, true} {
			w, settings := joining()
			if wanted {
				settings.Hops = ReportHops
			}
			out := &sink{}
			n := New(settings, w, nil, out)
			first, second := taken(1, 2)
			first.Destination = serviceAddr
			w.Unsettled = map[netip.Addr]bool{serviceAddr.Addr(): true}
			if !clientFirst {
				first, second = second, first
			}
			n.Add(first, noon)
			n.Add(second, noon)
			require.Zero(t, n.Stats().Waiting)
			if !wanted {
				require.Empty(t, out.lines)
				require.Equal(t, int64(2), n.Stats().Excluded[flow.Closed], "the audit has them")
				continue
			}
			require.Len(t, out.lines, 2)
			for _, l := range out.lines {
				require.True(t, l.flow.Hop)
				require.Same(t, sleepPod, l.flow.Source)
				require.Same(t, sleepPod, l.flow.Destination, "the proxy is in the same pod")
			}
		}
	}
}

// What the proxy does not take is reported. The proxy's own connections wait for that once.
func TestInANamespaceWithRedirectsAClientWaitsForTheProxy(t *testing.T) {
	w, settings := joining()
	out := &sink{}
	n := New(settings, w, nil, out)
	client, server := taken(1, 2)
	n.Add(client, noon)
	n.Add(server, noon)
	require.Len(t, out.lines, 1, "nothing shows yet that the pod has a proxy")

	client, server = taken(3, 4)
	n.Add(client, noon)
	require.Equal(t, 1, n.Stats().Waiting, "both names are known, but the proxy may have taken it")
	n.Add(server, noon)
	require.Zero(t, n.Stats().Waiting)
	require.Len(t, out.lines, 1)

	own := func(id uint64) *flow.Connection {
		c, _ := ends(id, id+1)
		c.Netns, c.Local.PID = theirs, proxy
		return c
	}
	n.Add(own(5), noon)
	require.Equal(t, 1, n.Stats().Waiting)
	n.Settle(noon.Add(settings.Settle))
	n.Add(own(7), noon)
	require.Zero(t, n.Stats().Waiting)
	require.Len(t, out.lines, 3)

	elsewhere := own(9)
	elsewhere.Netns.Inode++
	n.Add(elsewhere, noon)
	require.Zero(t, n.Stats().Waiting, "nothing is redirected there")
}

// NAT may lead from a pod to a loopback address of the node, as to a metadata server.
func TestANodesLoopbackAddressIsNoProxyOfAPod(t *testing.T) {
	for _, serverFirst := range []bool{false, true} {
		w, settings := joining()
		out := &sink{}
		n := New(settings, w, nil, out)
		first, second := ends(1, 2)
		second.Destination = netip.MustParseAddrPort("127.0.0.1:988")
		first.Netns, second.Netns = theirs, settings.Node
		if serverFirst {
			first, second = second, first
		}
		n.Add(first, noon)
		n.Add(second, noon)
		n.Settle(noon.Add(settings.Settle))
		require.Len(t, out.lines, 2, "both ends")
		for _, l := range out.lines {
			require.False(t, l.flow.Hop)
			if l.connection.Direction == flow.Outbound {
				require.Equal(t, httpbinAddr, l.connection.Destination)
			}
		}
	}
}

func TestTheProxysCallToItsWorkloadIsAHop(t *testing.T) {
	w, settings := joining()
	out := &sink{}
	n := New(settings, w, nil, out)
	client, server := ends(1, 2)
	client.Source = netip.MustParseAddrPort("127.0.0.6:40000")
	server.Source = client.Source
	n.Add(client, noon)
	n.Add(server, noon)
	require.Empty(t, out.lines)
	require.Zero(t, n.Stats().Waiting)
}

// The proxy at the server listens at another port than the one that was asked for.
func TestTheServersProxyHasThePortThatWasAskedFor(t *testing.T) {
	inbound := netip.AddrPortFrom(httpbinAddr.Addr(), 15006)
	for _, clientFirst := range []bool{false, true} {
		w, settings := joining()
		pod := *httpbinPod
		ports := []identity.Port{{Service: 8000, Target: 80}}
		pod.Services = []identity.Membership{{Service: httpbinService.Key(), Ports: ports}, {Service: identity.ServiceKey{Host: "other"}, Ports: ports}}
		w.Workloads[httpbinAddr.Addr()] = &pod
		out := &sink{}
		n := New(settings, w, nil, out)
		first, second := ends(1, 2)
		second.Destination = inbound
		if !clientFirst {
			first, second = second, first
		}
		n.Add(first, noon)
		n.Add(second, noon)
		require.Len(t, out.lines, 2)
		for _, l := range out.lines {
			require.Equal(t, httpbinAddr, l.connection.Destination)
			require.Same(t, httpbinService, l.flow.Service)
		}
	}
}

// Its client is on another node, and the proxy queried the kernel.
func TestTheServersProxyHasThePortThatTheKernelReported(t *testing.T) {
	inbound := netip.AddrPortFrom(httpbinAddr.Addr(), 15006)
	for name, tt := range map[string]struct{ told, want netip.AddrPort }{
		"its own address":       {httpbinAddr, httpbinAddr},
		"nothing":               {netip.AddrPort{}, inbound},
		"another's address":     {strangeAddr, inbound},
		"a hop's other address": {serviceAddr, inbound},
	} {
		t.Run(name, func(t *testing.T) {
			w, settings := joining()
			out := &sink{}
			n := New(settings, w, nil, out)
			_, server := ends(1, 2)
			server.Destination, server.Redirected = inbound, tt.told
			n.Add(server, noon)
			n.Settle(noon.Add(settings.Settle))
			l := out.one(t)
			require.Equal(t, tt.want, l.connection.Destination)
			require.Same(t, httpbinPod, l.flow.Destination)
			if tt.want == httpbinAddr {
				require.Same(t, httpbinService, l.flow.Service)
			}
		})
	}
}
