// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// listener resolves the end of a server.
func listener(x *Index, addr string, local *Process, at time.Time) string {
	w, _ := x.Resolve(End{Address: netip.MustParseAddrPort(addr), Server: true, Local: local}, at)
	if w == nil {
		return "nobody"
	}
	return w.UID
}

// twoNodes has a pod on the network of each, and one on node-1 that has an address of its own, and a port of the node.
func twoNodes() *Index {
	x := NewIndex(time.Minute)
	for name, address := range map[string]string{"node-1": "172.18.0.2", "node-2": "172.18.0.3"} {
		n := pod("node/"+name, address).onHostNetwork()
		n.Name, n.Node = name, true
		x.Upsert(n, ever, after(0))
		agent := pod("agent-of-"+name, address).onHostNetwork()
		agent.NodeName = NewNodeName(name)
		x.Declare(agent.UID, []uint16{9100})
		x.Upsert(agent, ever, after(0))
		other := pod("other-of-"+name, address).onHostNetwork()
		other.NodeName = NewNodeName(name)
		x.Upsert(other, ever, after(0))
	}
	web := pod("web", "10.244.0.5")
	web.NodeName = NewNodeName("node-1")
	x.Declare(web.UID, []uint16{8080})
	x.Upsert(web, ever, after(0))
	return x
}

func TestAPortThatAPodDeclaresIsItsOwn(t *testing.T) {
	x := twoNodes()
	for addr, want := range map[string]string{
		"172.18.0.2:9100": "agent-of-node-1", "172.18.0.3:9100": "agent-of-node-2",
		"172.18.0.2:8080": "web", "172.18.0.3:8080": "node/node-2",
		"172.18.0.2:22": "node/node-1",
	} {
		require.Equal(t, want, listener(x, addr, nil, after(1)), addr)
	}
	require.Equal(t, "node/node-1", who(x, "172.18.0.2:9100", after(1)), "it is a client's port by chance")
	require.Equal(t, "node/node-1", listener(x, "172.18.0.2:8080", &Process{}, after(1)),
		"a socket at the node's address is none of a pod that has an address of its own")
	require.Equal(t, "agent-of-node-1", listener(x, "172.18.0.2:9100", &Process{}, after(1)))
}

func TestAPortOfANodeIsThatOfWhoDeclaredItThen(t *testing.T) {
	x := twoNodes()
	renamed := pod("web", "10.244.0.5")
	renamed.NodeName, renamed.Names = NewNodeName("node-1"), Names{Workload: "renamed"}.Handle()
	x.Upsert(renamed, ever, after(5))
	w, _ := x.Resolve(End{Address: netip.MustParseAddrPort("172.18.0.2:8080"), Server: true}, after(6))
	require.Same(t, renamed, w)

	x.Remove("web", after(10))
	require.Empty(t, x.declared["web"])
	next := pod("next", "10.244.0.6")
	next.NodeName = NewNodeName("node-1")
	x.Declare(next.UID, []uint16{8080})
	x.Upsert(next, after(20), after(20))
	require.Equal(t, "web", listener(x, "172.18.0.2:8080", nil, after(9)))
	require.Equal(t, "next", listener(x, "172.18.0.2:8080", nil, after(21)))
	x.Expire(after(71))
	x.Remove("next", after(80))
	x.Expire(after(141))
	require.Equal(t, "node/node-1", listener(x, "172.18.0.2:8080", nil, after(141)))
	require.Equal(t, 2, x.byHostPort.histories.Size(), "those of the agents")
	require.Len(t, x.declared, 2)
}

func TestAPortOfEveryNodeIsItsServices(t *testing.T) {
	x := twoNodes()
	s := &Service{
		Host: "web.default.svc.cluster.local", Name: "web", Namespace: "default", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Ports: []Port{{80, 8080}}, NodePorts: []NodePort{{30080, 80}},
	}
	x.UpsertService(s, ever, after(0))
	service := func(addr string, at time.Time) *Service {
		return x.Service(netip.AddrPort{}, netip.MustParseAddrPort(addr), nil, at)
	}
	require.Same(t, s, service("172.18.0.2:30080", after(1)))
	require.Same(t, s, service("172.18.0.3:30080", after(1)))
	require.Nil(t, service("172.18.0.4:30080", after(1)), "no node's address")
	require.Nil(t, service("10.244.0.5:30080", after(1)), "a pod's address")
	require.Nil(t, service("172.18.0.2:80", after(1)))

	changed := *s
	changed.NodePorts = []NodePort{{30081, 80}}
	x.UpsertService(&changed, after(10), after(10))
	require.Same(t, s, service("172.18.0.2:30080", after(9)))
	require.Nil(t, service("172.18.0.2:30080", after(11)))
	require.Same(t, &changed, service("172.18.0.2:30081", after(11)))
	x.RemoveService(s.Key(), after(20))
	x.Expire(after(90))
	require.Zero(t, x.byNodePort.histories.Size())
}
