// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/cgroup"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

func init() { testhost.BeTraffic() }

// A node runs two pods on its network, one with each driver of a kubelet, and a process of its own: what the kernel's
// records have of each end is enough to name it.
func TestPodsOnTheHostsNetworkAreDistinguished(t *testing.T) {
	const nodeAddress, peerAddress = "10.244.7.1", "10.244.7.2"
	network := testhost.NewNetwork(t)
	node, peer := network.Host("node", nodeAddress+"/24"), network.Host("peer", peerAddress+"/24")
	mount, err := probe.CgroupRoot("")
	require.NoError(t, err)
	cgroups := testhost.NewCgroups(t, mount)
	places := map[string]string{
		"a":    cgroups.Make("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaaaaaaaa_2fa1_11d2_883f_0016d3cca427.slice/cri-containerd-1.scope"),
		"b":    cgroups.Make("kubepods/besteffort/podbbbbbbbb-2fa1-11d2-883f-0016d3cca427/1"),
		"node": "", // of the test itself
	}
	tree, err := cgroup.Open(mount)
	require.NoError(t, err)
	defer func() { require.NoError(t, tree.Close()) }()
	index := identity.NewIndex(time.Minute, identity.WithLocator(tree))
	for name, uid := range map[string]string{
		"a": "aaaaaaaa-2fa1-11d2-883f-0016d3cca427", "b": "bbbbbbbb-2fa1-11d2-883f-0016d3cca427", "node": "",
	} {
		pod, _ := identity.ParsePodUID(uid)
		index.Upsert(&identity.Workload{
			UID: name, Name: name, PodUID: pod, HostNetwork: true, Node: name == "node",
			Addresses: []netip.Addr{netip.MustParseAddr(nodeAddress)},
		}, time.Time{}, time.Now())
	}

	p, err := probe.Open(probe.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	peer.Serve("", peerAddress+":9000")
	want, port := make(map[string]int), 8000
	for name, place := range places {
		port++
		node.Serve(place, fmt.Sprintf("%s:%d", nodeAddress, port))
		peer.Dial("", fmt.Sprintf("%s:%d", nodeAddress, port))
		want[fmt.Sprintf("INBOUND at %d: %s", port, name)] = 1
		node.Dial(place, peerAddress+":9000")
		want["OUTBOUND: "+name]++
	}

	ends := make([]flow.Connection, 0, 4*len(places)) // of the node, that closed
	decoder := newDecoder()
	read := func(r *probe.Record) {
		c := decoder.record(r, p.Clock())
		own := c.Source
		if c.Direction == flow.Inbound {
			own = c.Destination
		}
		if own.Addr().String() == nodeAddress && r.Kind == probe.KindClosed {
			ends = append(ends, *c)
		}
	}
	got := make(map[string]int)
	require.Eventually(t, func() bool {
		require.NoError(t, p.Read(time.Now().Add(10*time.Millisecond), read))
		clear(got)
		for i := range ends {
			c := &ends[i]
			end, what := identity.End{Address: c.Source, Peer: c.Destination, Local: &c.Local}, "OUTBOUND"
			if c.Direction == flow.Inbound {
				end = identity.End{Address: c.Destination, Peer: c.Source, Server: true, Local: &c.Local}
				what = fmt.Sprintf("INBOUND at %d", c.Destination.Port())
			}
			w, settled := index.Resolve(end, c.Start)
			if !settled {
				return false
			}
			got[what+": "+w.Name]++
		}
		return len(ends) >= 2*len(places)
	}, 20*time.Second, time.Millisecond, "%v", got)
	require.Equal(t, want, got)
}
