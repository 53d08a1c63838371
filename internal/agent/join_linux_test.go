// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/cgroup"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const nodeOfPods = "10.244.7.1"

// kubeNode is a node with pods that reach each other and their services through it, as kube-proxy and a network plugin have it, with
// masquerade of all that is translated.
type kubeNode struct {
	t       *testing.T
	network *testhost.Network
	host    *testhost.Host
	cgroups *testhost.Cgroups
	tree    *cgroup.Tree
	index   *identity.Index
}

func newKubeNode(t *testing.T) *kubeNode {
	t.Helper()
	mount, err := probe.CgroupRoot("")
	require.NoError(t, err)
	n := &kubeNode{t: t, network: testhost.NewNetwork(t), cgroups: testhost.NewCgroups(t, mount)}
	n.tree, err = cgroup.Open(mount)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.tree.Close()) })
	n.index = identity.NewIndex(time.Minute, identity.WithLocator(n.tree))
	n.host = n.network.Host("node", nodeOfPods+"/24")
	n.host.Run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects; "+
		"echo 0 > /proc/sys/net/ipv4/conf/eth0/send_redirects")
	n.index.Upsert(&identity.Workload{
		UID: "node/node-1", Name: "node-1", HostNetwork: true, Node: true, Names: identity.Names{Workload: "node-1"}.Handle(),
		Addresses: []netip.Addr{netip.MustParseAddr(nodeOfPods)},
	}, time.Time{}, time.Now())
	return n
}

// nat translates as kube-proxy does, for pods and for the node's own processes, by lines of matches and destinations.
func (n *kubeNode) nat(rules ...string) {
	n.t.Helper()
	text := "table ip kube { chain services {\n" + strings.Join(rules, "\n") + `
		}
		chain pre { type nat hook prerouting priority -100; jump services; }
		chain out { type nat hook output priority -100; jump services; }
		chain post { type nat hook postrouting priority 100; ct status dnat masquerade; }
	}`
	n.host.Run("nft", text)
}

var podNumber int

// pod puts a pod on the node, and returns the folder of its cgroup. Without an address it is on the node's network.
func (n *kubeNode) pod(name, address string, services map[string]uint16, more ...string) (*testhost.Host, string) {
	n.t.Helper()
	podNumber++
	text := fmt.Sprintf("%08x-2fa1-11d2-883f-0016d3cca427", podNumber)
	uid, ok := identity.ParsePodUID(text)
	require.True(n.t, ok)
	w := &identity.Workload{
		UID: name, Name: name, NodeName: identity.NewNodeName("node-1"), PodUID: uid, HostNetwork: address == "",
		Names: identity.Names{Workload: name, Namespace: "default"}.Handle(),
	}
	for _, service := range slices.Sorted(maps.Keys(services)) {
		w.Services = append(w.Services, identity.Membership{
			Service: keyOf(service), Ports: []identity.Port{{Service: 8000, Target: services[service]}},
		})
	}
	host := n.host
	if address == "" {
		w.Addresses = []netip.Addr{netip.MustParseAddr(nodeOfPods)}
	} else {
		w.Addresses = []netip.Addr{netip.MustParseAddr(address)}
		host = n.network.Host(name, append([]string{address + "/32"}, more...)...)
		host.Run("ip", "route", "add", nodeOfPods, "dev", "eth0")
		host.Run("ip", "route", "add", "default", "via", nodeOfPods)
	}
	n.index.Upsert(w, time.Time{}, time.Now())
	return host, n.cgroups.Make("kubepods/besteffort/pod" + text + "/1")
}

func keyOf(service string) identity.ServiceKey {
	return identity.ServiceKey{Namespace: "default", Host: service + ".default.svc.cluster.local"}
}

func (n *kubeNode) service(name, address string, ports []identity.Port, nodePorts ...identity.NodePort) {
	n.index.UpsertService(&identity.Service{
		Host: keyOf(name).Host, Name: name, Namespace: "default", Addresses: []netip.Addr{netip.MustParseAddr(address)},
		Ports: ports, NodePorts: nodePorts,
	}, time.Time{}, time.Now())
}

// named counts the ends of connections by their names and bytes.
type named map[string]int

func (s named) Add(f *flow.Flow, _ time.Time) {
	c := f.Connection
	if c.Event != flow.EventClosed || !netip.MustParsePrefix("10.244.7.0/24").Contains(c.Source.Addr()) {
		return // of another test
	}
	name := func(w *identity.Workload) string {
		if w == nil {
			return "-"
		}
		return w.Name
	}
	s[fmt.Sprintf("%s %s→%s of %s: %d/%d", c.Direction, name(f.Source), name(f.Destination), strings.TrimSuffix(f.DestinationService(), ".default.svc.cluster.local"),
		c.Total[flow.Sent], c.Total[flow.Received])]++
}

// both are the two ends of a connection of testhost's clients and servers.
func both(source, destination, service string) []string {
	return []string{
		fmt.Sprintf("OUTBOUND %s→%s of %s: 3/5", source, destination, service),
		fmt.Sprintf("INBOUND %s→%s of %s: 5/3", source, destination, service),
	}
}

// watch names what the probe reads until every wanted end is there.
func (n *kubeNode) watch(p *probe.Probe, translator naming.Translator, want named) naming.Stats {
	n.t.Helper()
	got := make(named)
	namer := naming.New(naming.Settings{
		Hops: naming.OmitHops, Node: identity.OwnNetns(),
		Scope: naming.ScopeAll, Settle: 2 * time.Second, NodeName: "node-1",
		Local: func(a netip.Addr) bool { return a == netip.MustParseAddr(nodeOfPods) },
	}, n.index, translator, got)
	decoder := newDecoder()
	total := func(of named) (sum int) {
		for _, n := range of {
			sum += n
		}
		return sum
	}
	until := time.Now().Add(20 * time.Second)
	for (total(got) < total(want) || namer.Stats().Waiting > 0) && time.Now().Before(until) {
		require.NoError(n.t, p.Read(time.Now().Add(50*time.Millisecond), func(r *probe.Record) {
			namer.Add(decoder.record(r, p.Clock()), time.Now())
		}))
		namer.Settle(time.Now())
	}
	require.Equal(n.t, want, got)
	n.t.Logf("%+v", namer.Stats())
	return namer.Stats()
}

// TestBothEndsOfAConnectionHaveTheSameNames makes the connections of which one end alone cannot know the other: each has the same
// names and bytes at both ends, and those that the applications counted.
func TestBothEndsOfAConnectionHaveTheSameNames(t *testing.T) {
	n := newKubeNode(t)
	web := map[string]uint16{"web": 80, "alias": 80}
	client, inClient := n.pod("client", "10.244.7.10", map[string]uint16{"self": 80})
	server, inServer := n.pod("server", "10.244.7.11", web, "10.244.7.21/32")
	_, inAgent := n.pod("agent", "", nil)
	_, inDNS := n.pod("dns", "", nil)
	port := []identity.Port{{Service: 8000, Target: 80}}
	n.service("web", "10.96.5.5", port, identity.NodePort{Node: 30080, Service: 8000})
	n.service("alias", "10.96.5.6", port)
	n.service("self", "10.96.5.7", port)
	n.service("kube-dns", "10.96.0.10", []identity.Port{{Service: 53, Target: 53}})
	n.nat(
		"ip daddr 10.96.5.5 tcp dport 8000 dnat to 10.244.7.11:80",
		"ip daddr 10.96.5.6 tcp dport 8000 dnat to 10.244.7.11:80",
		"ip daddr 10.96.5.7 tcp dport 8000 dnat to 10.244.7.10:80",
		"fib daddr type local tcp dport 30080 dnat to 10.244.7.11:80",
		"fib daddr type local tcp dport 8081 dnat to 10.244.7.11:80", // a host port
	)
	n.host.Run("ip", "route", "add", "10.96.0.0/16", "dev", "eth0")
	n.host.Run("ip", "addr", "add", "169.254.20.10/32", "dev", "lo")
	n.host.Run("ip", "addr", "add", "10.96.0.10/32", "dev", "lo")

	table, err := conntrack.OpenAt(n.host.Namespace(), zaptest.NewLogger(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, table.Close()) }()
	p, err := probe.Open(probe.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()

	client.Serve(inClient, "10.244.7.10:80")
	server.Serve(inServer, "10.244.7.11:80")
	server.Serve(inServer, "10.244.7.21:81")
	n.host.Serve(inAgent, nodeOfPods+":9000")
	n.host.Serve(inDNS, "169.254.20.10:53")
	n.host.Serve(inDNS, "10.96.0.10:53")

	want := make(named)
	for _, c := range []struct {
		what, address, destination, service string
	}{
		{"a service, masqueraded", "10.96.5.5:8000", "server", "web"},
		{"another service of the same port", "10.96.5.6:8000", "server", "alias"},
		{"itself through its service", "10.96.5.7:8000", "client", "self"},
		{"a node port", nodeOfPods + ":30080", "server", "web"},
		{"a host port", nodeOfPods + ":8081", "server", "alias"},
		{"a pod on the node's network", nodeOfPods + ":9000", "agent", nodeOfPods},
		{"an address that is in no status", "10.244.7.21:81", "server", "10.244.7.21"},
		{"a link-local address of the node", "169.254.20.10:53", "dns", "169.254.20.10"},
		{"a service's address on the node", "10.96.0.10:53", "dns", "kube-dns"},
	} {
		client.Dial(inClient, c.address)
		for _, end := range both("client", c.destination, c.service) {
			want[end]++
		}
	}
	for place, name := range map[string]string{inAgent: "agent", "": "node-1"} {
		n.host.Dial(place, "10.96.5.5:8000")
		for _, end := range both(name, "server", "web") {
			want[end]++
		}
	}
	n.watch(p, table, want)
}

// TestWithoutConnectionTrackingTheEndsStillKnowEachOther is the same where the kernel cannot be asked.
func TestWithoutConnectionTrackingTheEndsStillKnowEachOther(t *testing.T) {
	n := newKubeNode(t)
	client, inClient := n.pod("client", "10.244.7.10", nil)
	server, inServer := n.pod("server", "10.244.7.11", map[string]uint16{"web": 80})
	n.service("web", "10.96.5.5", []identity.Port{{Service: 8000, Target: 80}}, identity.NodePort{Node: 30080, Service: 8000})
	n.nat("ip daddr 10.96.5.5 tcp dport 8000 dnat to 10.244.7.11:80", "fib daddr type local tcp dport 30080 dnat to 10.244.7.11:80")
	p, err := probe.Open(probe.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	server.Serve(inServer, "10.244.7.11:80")
	want := make(named)
	for _, address := range []string{"10.96.5.5:8000", nodeOfPods + ":30080"} {
		client.Dial(inClient, address)
		for _, end := range both("client", "server", "web") {
			want[end]++
		}
	}
	n.watch(p, nil, want)
}

// TestAConnectionThroughSidecarsCountsOnce has proxies in two pods that take all connections, by the rules that istio-init makes. What
// an application sends goes over three connections, of which only the one between the proxies is reported.
func TestAConnectionThroughSidecarsCountsOnce(t *testing.T) {
	n := newKubeNode(t)
	client, inClient := n.pod("client", "10.244.7.10", nil)
	server, inServer := n.pod("server", "10.244.7.11", map[string]uint16{"web": 80})
	n.service("web", "10.96.5.5", []identity.Port{{Service: 8000, Target: 80}})
	n.nat("ip daddr 10.96.5.5 tcp dport 8000 dnat to 10.244.7.11:80")
	p, err := probe.Open(probe.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	client.Sidecar(inClient)
	server.Sidecar(inServer)
	server.Serve(inServer, "10.244.7.11:80")
	table, err := conntrack.OpenAt(n.host.Namespace(), zaptest.NewLogger(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, table.Close()) }()

	want := make(named)
	for _, address := range []string{"10.96.5.5:8000", "10.244.7.11:80"} {
		client.Dial(inClient, address)
		for _, end := range both("client", "server", "web") {
			want[end]++
		}
	}
	stats := n.watch(p, table, want)
	require.Equal(t, int64(8), stats.Excluded[flow.Closed], "both ends of two hops of each connection")
}
