// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	ownAddr   = "10.244.0.5:40000"
	proxyAddr = "10.244.0.9:40000"
	inOwn     = 77
	inService = 78 // of the node, and not the root
)

var (
	ownNet   = Netns{Inode: 5}
	proxyNet = Netns{Inode: 6}
	otherNet = Netns{Inode: 7}
	userNet  = Netns{Inode: 8, Nested: true}
)

// within resolves the end of a process in a cgroup and a network namespace.
func within(x *Index, addr string, cgroup uint64, at Netns, when time.Time) string {
	return answer(x.Resolve(End{Address: netip.MustParseAddrPort(addr), Local: &Process{PID: 42, Cgroup: cgroup}, Netns: at}, when))
}

func answer(w *Workload, settled bool) string {
	name := "nobody"
	if w != nil {
		name = w.UID
	}
	if !settled {
		name += ", yet"
	}
	return name
}

// lodgings is node with the cgroup of the pod own.
func lodgings() (*Index, *places) {
	x, p := node()
	p.of[inOwn], p.of[inService] = PodUID{inOwn}, PodUID{}
	p.presence = map[PodUID]Presence{{inOwn}: PresenceHere, {inProxy}: PresenceHere}
	return x, p
}

func TestAnAddressInANetworkNamespaceOfAnotherIsNotTheWorkloads(t *testing.T) {
	x, p := lodgings()
	require.Equal(t, "own", within(x, ownAddr, inProxy, otherNet, after(10)), "nothing is known of either: a proxy may be there")
	require.Equal(t, "own", within(x, ownAddr, inOwn, ownNet, after(10)))
	require.Equal(t, "proxy", within(x, proxyAddr, inProxy, proxyNet, after(10)))
	for _, c := range []struct {
		name   string
		cgroup uint64
		at     Netns
		want   string
	}{
		{"the pod itself", inOwn, ownNet, "own"},
		{"the pod itself, in another of its own", inOwn, Netns{Inode: 50}, "own"},
		{"a proxy in the pod's", inProxy, ownNet, "own"},
		{"a process of the node in the pod's", inService, ownNet, "own"},
		{"somebody in the pod's whose cgroup is gone", inGone, ownNet, "own"},
		{"somebody in the pod's, with cgroups of version 1", RootCgroup, ownNet, "own"},
		{"a pod that is not known yet, in the pod's", inStranger, ownNet, "own"},
		{"another pod in its own", inProxy, proxyNet, "nobody"},
		{"another pod in one that nobody knows", inProxy, otherNet, "nobody"},
		{"a pod that is not known yet, in another", inStranger, otherNet, "nobody"},
		{"a process of the node in another pod's", inService, proxyNet, "nobody"},
		{"a process of the node in the node's", inService, x.occupants.own, "nobody"},
		{"a proxy in the node's", inProxy, x.occupants.own, "own"},
		{"somebody in another whose cgroup is gone", inGone, otherNet, "nobody"},
		{"somebody in another, with cgroups of version 1", RootCgroup, otherNet, "nobody"},
		{"a user's", inService, userNet, "nobody"},
		{"a pod's user's", inProxy, userNet, "nobody"},
		{"a user's whose cgroup is gone", inGone, userNet, "nobody"},
		{"a user's, with cgroups of version 1", RootCgroup, userNet, "nobody"},
		{"no namespace in the record", inProxy, Netns{}, "own"},
	} {
		require.Equal(t, c.want, within(x, ownAddr, c.cgroup, c.at, after(10)), c.name)
	}
	p.sought[inProxy] = true
	require.Equal(t, "nobody, yet", within(x, ownAddr, inProxy, otherNet, after(10)))
}

func TestTheNodesAddressInAnotherNetworkNamespaceIsNotTheNodes(t *testing.T) {
	x, _ := lodgings()
	within(x, proxyAddr, inProxy, proxyNet, after(10))
	require.Equal(t, "node", within(x, "192.0.2.1:40000", inService, x.occupants.own, after(10)))
	require.Equal(t, "node", within(x, "192.0.2.1:40000", inService, otherNet, after(10)), "a node has several")
	require.Equal(t, "nobody", within(x, "192.0.2.1:40000", inService, userNet, after(10)))
	require.Equal(t, "nobody", within(x, "192.0.2.1:40000", inService, proxyNet, after(10)))
	require.Equal(t, "a", within(x, "192.0.2.1:40000", inA, x.occupants.own, after(10)))
	require.False(t, x.occupants.knows(x.occupants.own), "it is not one pod's")
	require.Equal(t, "a", within(x, "192.0.2.1:40000", inA, userNet, after(10)), "by its cgroup")
	require.True(t, x.Untrusted(userNet), "it is on the node's network")
}

func TestInAUsersNetworkNamespaceNobodyIsNamedByAddress(t *testing.T) {
	for name, x := range map[string]*Index{"with cgroups": func() *Index { x, _ := lodgings(); return x }(), "without": func() *Index {
		x := NewIndex(time.Minute)
		x.Upsert(pod("own", "10.244.0.5"), after(0), after(0))
		return x
	}()} {
		remote := End{Address: netip.MustParseAddrPort(ownAddr), Netns: userNet}
		require.True(t, x.Untrusted(userNet), name)
		require.Equal(t, "nobody", answer(x.Resolve(remote, after(10))), name)
		require.Equal(t, "nobody", within(x, ownAddr, inGone, userNet, after(10)), name)
		require.True(t, x.Impostor(End{Address: remote.Address, Local: &Process{}, Netns: userNet}, after(10)), name)
		require.False(t, x.Impostor(End{Address: netip.MustParseAddrPort("10.9.9.9:1"), Local: &Process{}, Netns: userNet}, after(10)), name)
		remote.Netns = otherNet
		require.Equal(t, "own", answer(x.Resolve(remote, after(10))), name)
		require.Equal(t, "own", within(x, ownAddr, inGone, otherNet, after(10)), name)
		require.False(t, x.Impostor(End{Address: remote.Address, Local: &Process{}, Netns: otherNet}, after(10)), name)
	}
}

func TestAPodInAUserNamespaceIsNamedFromItsFirstRecordOn(t *testing.T) {
	x, _ := lodgings()
	generation := x.Generation()
	require.Equal(t, "own", within(x, ownAddr, inOwn, userNet, after(10)))
	require.NotEqual(t, generation, x.Generation(), "what waits is tried again")
	require.False(t, x.Untrusted(userNet))
	require.Equal(t, "proxy", answer(x.Resolve(End{Address: netip.MustParseAddrPort(proxyAddr), Netns: userNet}, after(10))))
	require.Equal(t, "own", within(x, ownAddr, inProxy, userNet, after(10)), "a sidecar")
	require.Equal(t, "nobody", within(x, proxyAddr, inOwn, userNet, after(10)))
}

func TestANetworkNamespaceIsForgottenWithItsPod(t *testing.T) {
	x, _ := lodgings()
	within(x, ownAddr, inOwn, ownNet, after(10))
	x.Remove("own", after(20))
	require.False(t, x.occupants.knows(ownNet))
	require.Equal(t, "own", within(x, ownAddr, inOwn, ownNet, after(15)), "its last bytes")
	require.False(t, x.occupants.knows(ownNet), "the number may be another's by now")
	within(x, proxyAddr, inProxy, ownNet, after(30))
	require.True(t, x.occupants.has(ownNet, PodUID{inProxy}))
}

func TestTheNetworkNamespacesOfAPodAreBounded(t *testing.T) {
	x, _ := lodgings()
	for i := range uint32(100) {
		within(x, ownAddr, inOwn, Netns{Inode: 1000 + i, Nested: true}, after(10))
	}
	require.Equal(t, maxNetns, x.occupants.pods.Size())
	require.True(t, x.occupants.has(Netns{1099, true}, PodUID{inOwn}))
	within(x, proxyAddr, inProxy, Netns{1099, true}, after(10))
	require.Len(t, x.occupants.list(PodUID{inOwn}), maxNetns-1)
	x.Remove("own", after(20))
	x.Remove("proxy", after(20))
	require.Zero(t, x.occupants.pods.Size())
	require.Zero(t, x.occupants.of.Size())
}

func TestAnEndInItsNetworkNamespaceAllocatesNothing(t *testing.T) {
	x, _ := lodgings()
	ends := []End{
		{Address: netip.MustParseAddrPort(ownAddr), Local: &Process{PID: 42, Cgroup: inOwn}, Netns: ownNet},
		{Address: netip.MustParseAddrPort(ownAddr), Local: &Process{PID: 42, Cgroup: inProxy}, Netns: otherNet},
		{Address: netip.MustParseAddrPort(ownAddr), Netns: userNet},
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for _, end := range ends {
			x.Resolve(end, after(10))
			x.Impostor(end, after(10))
		}
	}))
}
