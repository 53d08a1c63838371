// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestDecodeReadsWhatIsWritten(t *testing.T) {
	w := &Workload{
		UID: "Kubernetes//Pod/default/a", Name: "a", Namespace: "default", Addresses: ips("10.0.0.1", "fd00::1"), Network: "n", HBONE: true,
		HostNetwork: true, TrustDomain: "td", ServiceAccount: "sa", Node: "node-1", CanonicalName: "cn", CanonicalRevision: "cr",
		WorkloadName: "wn", ClusterID: "c", Region: "r", Zone: "z", Services: map[string][]Port{"default/a": {{80, 8080}, {81, 0}}, "default/b": nil},
	}
	got, err := Decode(encode(&Address{Workload: w}))
	require.NoError(t, err)
	require.Equal(t, &Address{Workload: w}, got)

	s := &Service{
		Name: "a", Namespace: "default", Hostname: "a.default.svc.cluster.local", Ports: []Port{{80, 8080}},
		Addresses: []NetworkAddress{{Network: "n", Address: ips("10.0.0.1")[0]}, {Address: ips("fd00::")[0], Range: true, Length: 64}},
	}
	got, err = Decode(encode(&Address{Service: s}))
	require.NoError(t, err)
	require.Equal(t, &Address{Service: s}, got)

	for _, bad := range [][]byte{nil, {0x0a}, {0x0a, 0x05, 1}, {0x07}, appendMessage(nil, 3, nil),
		appendMessage(nil, 1, appendMessage(nil, 1, []byte{0xff, 0xfe}))} {
		_, err := Decode(bad)
		require.Error(t, err, "%x", bad)
	}
}

func converted(t *testing.T, a *Address) *entry {
	t.Helper()
	e, err := (&mesh{clusterID: "Kubernetes"}).convert(a)
	require.NoError(t, err)
	return e
}

func TestWhatAWorkloadIsCalled(t *testing.T) {
	bare := func(change func(*Workload)) *Address {
		w := &Workload{UID: "u", Name: "a-pod", Namespace: "default"}
		change(w)
		return &Address{Workload: w}
	}
	for name, test := range map[string]struct {
		a    *Address
		want identity.Names
	}{
		"a pod of a deployment": {httpbin(), identity.Names{
			Workload: "httpbin", CanonicalService: "httpbin", CanonicalRevision: "v1", Namespace: "default", Principal: "-", Cluster: "Kubernetes",
		}},
		"what is left out": {bare(func(*Workload) {}), identity.Names{
			Workload: "a-pod", CanonicalService: "a-pod", CanonicalRevision: "latest", Namespace: "default", Principal: "-", Cluster: "Kubernetes",
		}},
		"an address behind a service without a selector": {bare(func(w *Workload) {
			w.UID, w.Name = "east/discovery.k8s.io/EndpointSlice/default/database-x2k4p/10.0.0.9", "database-x2k4p"
			w.Services = map[string][]Port{"default/database.default.svc.cluster.local": nil}
		}), identity.Names{
			Workload: "database", CanonicalService: "database", CanonicalRevision: "latest", Namespace: "default", Principal: "-", Cluster: "Kubernetes",
		}},
		"a principal takes all three": {bare(func(w *Workload) { w.TrustDomain, w.ServiceAccount, w.ClusterID = "td", "sa", "east" }), identity.Names{
			Workload: "a-pod", CanonicalService: "a-pod", CanonicalRevision: "latest", Namespace: "default",
			Principal: "spiffe://td/ns/default/sa/sa", Cluster: "east",
		}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, converted(t, test.a).workload.Names.Value()) })
	}
	e, err := (&mesh{trustDomain: "cluster.local"}).convert(bare(func(w *Workload) { w.ServiceAccount = "sa" }))
	require.NoError(t, err)
	require.Equal(t, "spiffe://cluster.local/ns/default/sa/sa", e.workload.Names.Value().Principal)

	nobody := converted(t, bare(func(w *Workload) { w.Name, w.Namespace = "", "" })).workload
	require.Equal(t, []string{"-", "-", "-"}, []string{nobody.Name, nobody.Namespace(), nobody.Names.Value().Workload})
	require.Equal(t, identity.TunnelHBONE, converted(t, bare(func(w *Workload) { w.HBONE = true })).workload.Tunnel)
	require.True(t, converted(t, bare(func(w *Workload) { w.HostNetwork = true })).workload.HostNetwork)
}

func TestAddressesThatNobodyIsAtAreLeftOut(t *testing.T) {
	e := converted(t, &Address{Service: &Service{Hostname: "h", Namespace: "n", Addresses: []NetworkAddress{
		{Address: ips("240.240.0.0")[0], Range: true, Length: 16}, {Address: ips("240.240.0.1")[0], Range: true, Length: 32},
		{Address: ips("0.0.0.0")[0]}, {Address: ips("fd00::")[0], Range: true, Length: 64}, {Address: ips("::ffff:10.0.0.1")[0]},
		{Address: ips("10.0.0.2")[0], Network: "another"}, {Address: ips("10.0.0.1")[0]},
	}}})
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("240.240.0.1")}, e.within(""))
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.0.2")}, e.within("another"))
}

func TestWhatCannotBeUsedIsSaid(t *testing.T) {
	for want, a := range map[string]*Address{
		"uid is empty":                       {Workload: &Workload{}},
		"uid has 9999 bytes, more than 2024": {Workload: &Workload{UID: strings.Repeat("u", 9999)}},
		"an address has 5 bytes":             {Workload: &Workload{UID: "u", Addresses: [][]byte{make([]byte, 5)}}},
		"is not NAMESPACE/HOSTNAME":          {Workload: &Workload{UID: "u", Services: map[string][]Port{"httpbin": nil}}},
		"1 to 65536 are not two ports":       {Workload: &Workload{UID: "u", Services: map[string][]Port{"a/b": {{1, 65536}}}}},
		"hostname is empty":                  {Service: &Service{Namespace: "a"}},
		"4294967295 to 1 are not two ports":  {Service: &Service{Namespace: "a", Hostname: "b", Ports: []Port{{math.MaxUint32, 1}}}},
		"an address has 0 bytes":             {Service: &Service{Namespace: "a", Hostname: "b", Addresses: []NetworkAddress{{}}}},
	} {
		_, err := (&mesh{}).convert(a)
		require.ErrorContains(t, err, want)
	}
}

// registryOf takes resources in as one first response.
func registryOf(t *testing.T, config *Config, nodeName string, all ...*Address) *world {
	t.Helper()
	source := New(config, identity.SourceSettings{NodeName: nodeName, Retain: time.Minute})
	w := &world{Source: source, t: t}
	require.NoError(t, w.take(resources("1", all...), false, time.Now()))
	return w
}

func inNetwork(network, node string, a *Address) *Address {
	if a.Workload != nil {
		a.Workload.Network, a.Workload.Node = network, node
		return a
	}
	for i := range a.Service.Addresses {
		a.Service.Addresses[i].Network = network
	}
	return a
}

func ofCluster(cluster string, a *Address) *Address {
	a.Workload.ClusterID = cluster
	a.Workload.UID = cluster + "//Pod/default/" + a.Workload.Name
	return a
}

func TestAnAddressOfAnotherNetworkIsSomebodyElses(t *testing.T) {
	all := func() []*Address {
		return []*Address{
			inNetwork("here", "node-1", podOf("local", "10.0.0.1")), inNetwork("here", "node-2", httpbin()), inNetwork("here", "", httpbinService()),
			ofCluster("west", inNetwork("there", "node-1", podOf("remote-a", "10.0.0.1"))),
			ofCluster("west", inNetwork("there", "node-1", podOf("remote-b", "10.0.0.2"))),
			ofCluster("west", inNetwork("there", "node-1", podOf("remote-c", "10.0.0.3"))),
			inNetwork("there", "", &Address{Service: &Service{Name: "s", Namespace: "default", Hostname: "s", Addresses: []NetworkAddress{{Address: ips("10.96.5.5")[0]}}}}),
			inNetwork("", "", podOf("default-network", "10.0.0.1")),
		}
	}
	for name, test := range map[string]struct {
		config             func(*Config)
		node               string
		local, http, other string
	}{
		"known by the node's workloads":    {func(*Config) {}, "node-1", "local", "nobody of " + httpbinHost, "nobody"},
		"known by the cluster's workloads": {func(*Config) {}, "", "local", "nobody of " + httpbinHost, "nobody"},
		"named":                            {func(c *Config) { c.Network = "there" }, "node-1", "remote-a", "nobody of s", "remote-b"},
		"an empty one is one too":          {func(c *Config) { c.ClusterID = "of nobody" }, "", "default-network", "nobody", "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			config := NewDefaultConfig()
			test.config(config)
			w := registryOf(t, config, test.node, all()...)
			w.is("10.0.0.1:80", test.local)
			w.is("10.96.5.5:8000", test.http)
			w.is("10.0.0.2:80", test.other)
		})
	}
}

// The node's own pods may come later than others.
func TestTheNodesNetworkIsLearntLater(t *testing.T) {
	w := registryOf(t, NewDefaultConfig(), "node-1", inNetwork("n1", "node-2", podOf("a", "10.0.0.1")), inNetwork("n2", "node-3", podOf("b", "10.0.0.1")))
	w.is("10.0.0.1:80", "a")
	require.NoError(t, w.take(resources("1", inNetwork("n2", "node-1", podOf("c", "10.0.0.9"))), false, time.Now()))
	w.is("10.0.0.1:80", "b")
	w.is("10.0.0.9:80", "c")
	require.NoError(t, w.take(removed(nameOf(podOf("b"))), false, time.Now()))
	w.is("10.0.0.1:80", "nobody")
}

func TestPodsOnTheHostsNetworkAreDistinguishedByTheirServices(t *testing.T) {
	dns, proxy := podOf("dns", "192.168.0.1"), podOf("proxy", "192.168.0.1")
	for _, a := range []*Address{dns, proxy} {
		a.Workload.HostNetwork = true
	}
	dns.Workload.Services = map[string][]Port{"default/dns": {{53, 5353}}}
	w := registryOf(t, NewDefaultConfig(), "", dns, proxy)
	w.is("192.168.0.1:5353", "dns")
	w.is("192.168.0.1:10250", "nobody")
}

// checkBounded fails unless everything of an entry that becomes a label is.
func checkBounded(t testing.TB, e *entry) {
	t.Helper()
	var texts []string
	if w := e.workload; w != nil {
		n := w.Names.Value()
		texts = []string{w.Name, w.Namespace(), n.Workload, n.CanonicalService, n.CanonicalRevision, n.Namespace, n.Cluster}
		if len(n.Principal) > 3*maxName+len("spiffe:///ns//sa/") {
			t.Fatalf("principal of %d bytes", len(n.Principal))
		}
	} else {
		texts = []string{e.service.Name, e.service.Namespace, e.service.Host}
	}
	for _, text := range texts {
		if text == "" || len(text) > maxName || !utf8.ValidString(text) {
			t.Fatalf("%q", text)
		}
	}
}

// FuzzAddress gives arbitrary bytes for what istiod sends.
func FuzzAddress(f *testing.F) {
	for _, a := range []*Address{httpbin(), httpbinService(), podOf(strings.Repeat("ü", 300)), {Workload: &Workload{}}} {
		f.Add(encode(a))
	}
	f.Add([]byte{0x0a, 0x03, 0x0a, 0x01, 0xff})
	f.Fuzz(func(t *testing.T, message []byte) {
		a, err := Decode(message)
		if err != nil {
			return
		}
		again, err := Decode(encode(a))
		if err != nil {
			t.Fatalf("what was read once cannot be written and read: %v", err)
		}
		m := &mesh{clusterID: "Kubernetes"}
		e, err := m.convert(a)
		_, errAgain := m.convert(again)
		if (err == nil) != (errAgain == nil) {
			t.Fatalf("%v, and then %v", err, errAgain)
		}
		if err == nil {
			checkBounded(t, e)
		}
	})
}

func TestHostileNamesAreBounded(t *testing.T) {
	const many = 100_000
	m := &mesh{clusterID: "Kubernetes"}
	for i := range many {
		text := strings.Repeat("né ,=\n\"", 40+i%7) + fmt.Sprint(i)
		a := podOf("p", "10.0.0.1")
		w := a.Workload
		w.UID = fmt.Sprint(i)
		w.Name, w.Namespace, w.WorkloadName, w.CanonicalName, w.CanonicalRevision, w.TrustDomain, w.ServiceAccount, w.ClusterID =
			text, text, text, text, text, text, text, text
		decoded, err := Decode(encode(a))
		require.NoError(t, err)
		e, err := m.convert(decoded)
		require.NoError(t, err)
		checkBounded(t, e)
	}
}

func BenchmarkConvert(b *testing.B) {
	message := encode(httpbin())
	m := &mesh{clusterID: "Kubernetes"}
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		a, err := Decode(message)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.convert(a); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFirstResponse takes in 10,000 pods behind three of 1,000 services each.
func BenchmarkFirstResponse(b *testing.B) {
	var all []*Address
	for i := range 10_000 {
		p := podOf(fmt.Sprintf("deployment-%d-5c5944c58c-v%04d", i/10, i), fmt.Sprintf("10.%d.%d.%d", 128+i>>16, i>>8&255, i&255))
		p.Workload.Services = make(map[string][]Port)
		for s := range 3 {
			p.Workload.Services[fmt.Sprintf("default/service-%d.default.svc.cluster.local", (i+s)%1000)] = []Port{{80, 8080}}
		}
		all = append(all, p)
	}
	for i := range 1000 {
		host := fmt.Sprintf("service-%d.default.svc.cluster.local", i)
		all = append(all, &Address{Service: &Service{Name: host, Namespace: "default", Hostname: host, Ports: []Port{{80, 8080}}}})
	}
	answer := resources("1", all...)
	b.ReportAllocs()
	for b.Loop() {
		source := New(NewDefaultConfig(), identity.SourceSettings{})
		if err := source.take(answer, false, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
