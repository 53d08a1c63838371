// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"net/netip"
	"slices"
	"testing"
	"time"
	"unique"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// onDemand is the configuration for an istiod without TLS.
func onDemand(endpoint string) *Config {
	config := plainText(endpoint)
	config.OnDemand = true
	return config
}

// named is a request's names, sorted.
func named(names []string) []string { return slices.Sorted(slices.Values(names)) }

// asks waits for a request that asks for names; acknowledgements and names that are given up go past.
func (c *stream) asks(names ...string) {
	c.t.Helper()
	var got []string
	for len(got) < len(names) {
		got = append(got, c.request().ResourceNamesSubscribe...)
	}
	require.Equal(c.t, named(names), named(got))
}

// gives waits for a request that gives names up.
func (c *stream) gives(names ...string) {
	c.t.Helper()
	var got []string
	for len(got) < len(names) {
		got = append(got, c.request().ResourceNamesUnsubscribe...)
	}
	require.Equal(c.t, named(names), named(got))
}

// says answers; what the source says to that is left to others.
func (c *stream) says(answer *discovery.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.nonce++
	answer.TypeUrl, answer.Nonce = AddressType, "nonce"
	c.answers <- answer
}

// becomes waits until the address has a name.
func (w *world) becomes(address, want string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.who(address, time.Now()) == want }, within, often, "%s should be %s", address, want)
}

// startDemand starts a source that is connected, and learns that its node has no pods.
func startDemand(t *testing.T, d *istiod, config *Config, settings identity.SourceSettings) (*world, *stream) {
	t.Helper()
	w := startWorldAs(t, config, settings, environmentPod(), config.loadTLS)
	c, first := d.connected()
	require.Equal(t, []string{"*"}, first.ResourceNamesSubscribe)
	require.Equal(t, []string{"*"}, first.ResourceNamesUnsubscribe)
	c.says(&discovery.DeltaDiscoveryResponse{})
	require.Eventually(t, w.InSync, within, often)
	return w, c
}

func TestAnAddressIsAskedForWhenItIsMet(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{NodeName: "node-1"})
	began := time.Now()
	require.Equal(t, "nobody", w.who("10.244.0.11:80", began))
	c.asks("/10.244.0.11")
	require.Equal(t, identity.Demand{Asked: 1, Requests: 1}, w.demand.Demand())
	before := w.Generation()
	c.says(resources("1", httpbin()))
	w.becomes("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk of "+httpbinHost)
	require.NotEqual(t, before, w.Generation())
	_, settled := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.11:80")}, began)
	require.True(t, settled, "the connection is older than the answer")
	s := w.Service(netip.AddrPort{}, netip.MustParseAddrPort("10.244.0.11:80"), nil, began)
	require.Nil(t, s)

	// The service is known by the pods behind it; its address is asked for as any other.
	pod, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.11:80")}, began)
	s = w.Service(netip.MustParseAddrPort("10.96.5.5:8000"), netip.MustParseAddrPort("10.244.0.11:80"), pod, began)
	require.Equal(t, &identity.Service{Host: httpbinHost, Name: "httpbin", Namespace: "default"}, s)
	require.False(t, w.demand.Answered(netip.MustParseAddr("10.96.5.5"), began))
	c.asks("/10.96.5.5")
	c.says(resources("1", httpbinService(), podOf("another-pod-behind-it", "10.244.0.99")))
	w.becomes("10.96.5.5:8000", "nobody of "+httpbinHost)
	require.True(t, w.demand.Answered(netip.MustParseAddr("10.96.5.5"), began))
	c.gives(nameOf(podOf("another-pod-behind-it")))
	require.Equal(t, identity.Held{Workloads: 1, Services: 1}, w.Held())
}

func TestAnAddressThatCannotBeAnothersIsNotAskedFor(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{})
	for _, address := range []string{"127.0.0.1:1", "[::1]:1", "0.0.0.0:1", "[fe80::1]:1", "224.0.0.1:1"} {
		w.is(address, "nobody")
		require.True(t, w.demand.Answered(netip.MustParseAddrPort(address).Addr(), time.Now()))
	}
	w.is("[::ffff:10.244.0.11]:80", "nobody")
	c.asks("/10.244.0.11")
	require.EqualValues(t, 1, w.demand.Demand().Requests)
}

func TestThatNobodyHasAnAddressIsAnAnswer(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{})
	end := identity.End{Address: netip.MustParseAddrPort("10.244.0.11:80")}
	began := time.Now()
	_, settled := w.Resolve(end, began)
	require.False(t, settled)
	c.asks("/10.244.0.11")
	before := w.Generation()
	c.says(removed("/10.244.0.11"))
	require.Eventually(t, func() bool { return w.Generation() != before }, within, often, "records that wait are tried again")
	require.Equal(t, 1, w.demand.Demand().Unknown)
	_, settled = w.Resolve(end, began)
	require.False(t, settled, "istiod may be behind")
	_, settled = w.Resolve(end, began.Add(-certain-time.Second))
	require.True(t, settled)

	// istiod does not report who gets the address: it is asked for again.
	c.gives("/10.244.0.11")
	c.asks("/10.244.0.11")
	c.says(resources("1", httpbin()))
	w.becomes("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk of "+httpbinHost)
	require.Equal(t, "httpbin-5c5944c58c-v9mlk of "+httpbinHost, w.who("10.244.0.11:80", began))
	require.EqualValues(t, 1, w.demand.Demand().Repeats)
}

func TestAnAddressThatPassesToAnotherIsAskedForAtOnce(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{})
	w.is("10.244.0.11:80", "nobody")
	c.asks("/10.244.0.11")
	c.says(resources("1", podOf("old", "10.244.0.11")))
	w.becomes("10.244.0.11:80", "old")
	ofOld := time.Now()
	c.says(removed(nameOf(podOf("old"))))
	w.becomes("10.244.0.11:80", "nobody")
	c.gives(nameOf(podOf("old")), "/10.244.0.11")
	between := time.Now()
	c.asks("/10.244.0.11")
	c.says(resources("1", podOf("new", "10.244.0.11")))
	w.becomes("10.244.0.11:80", "new")
	require.Equal(t, "old", w.who("10.244.0.11:80", ofOld), "its last bytes")
	require.Equal(t, "new", w.who("10.244.0.11:80", between))
	require.Eventually(t, func() bool { return !w.Named(podNames("old")) || w.index.Named(podNames("old")) }, within, often)
}

func podNames(name string) unique.Handle[identity.Names] {
	m := mesh{clusterID: "Kubernetes"}
	e, _ := m.convert(podOf(name, "10.0.0.1"))
	return e.workload.Names
}

func TestTheNodesOwnPodsComeWithoutBeingAskedFor(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w := startWorldAs(t, onDemand(d.address), identity.SourceSettings{NodeName: "node-1"}, environmentPod(), plainText("").loadTLS)
	c, first := d.connected()
	require.Equal(t, "node-1", first.Node.Metadata.Fields["NODE_NAME"].GetStringValue())
	own, elsewhere := podOf("own", "10.244.0.1"), podOf("elsewhere", "10.244.0.2")
	own.Workload.Node, elsewhere.Workload.Node = "node-1", "node-2"
	c.says(resources("1", own, elsewhere))
	require.Eventually(t, w.InSync, within, often)
	w.is("10.244.0.1:80", "own")
	require.Equal(t, "own", w.who("10.244.0.1:80", time.Now().Add(-time.Hour)), "it was there before us")
	require.Equal(t, identity.Demand{Local: 1}, w.demand.Demand())
	require.Equal(t, 1, w.Held().Workloads)
	c.says(removed(nameOf(own)))
	w.becomes("10.244.0.1:80", "nobody")
	c.asks("/10.244.0.1")
}

func TestTheNetworkOfTheNodesPodsIsTheOneThatIsAskedFor(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w := startWorldAs(t, onDemand(d.address), identity.SourceSettings{NodeName: "node-1"}, environmentPod(), plainText("").loadTLS)
	c, _ := d.connected()
	own := podOf("own", "10.244.0.1")
	own.Workload.Node, own.Workload.Network = "node-1", "network-1"
	w.is("10.244.0.2:80", "nobody")
	c.asks("/10.244.0.2")
	c.says(resources("1", own))
	c.asks("network-1/10.244.0.2")
	w.is("10.244.0.1:80", "own")
	peer, same := podOf("peer", "10.244.0.2"), podOf("same-address-elsewhere", "10.244.0.2")
	peer.Workload.Network, same.Workload.Network = "network-1", "network-2"
	c.says(resources("1", peer, same))
	w.becomes("10.244.0.2:80", "peer")
}

func TestWhatIsNotInUseIsGivenUp(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{})
	w.is("10.244.0.11:80", "nobody")
	w.is("10.244.0.20:80", "nobody")
	c.asks("/10.244.0.11", "/10.244.0.20")
	c.says(resources("1", httpbin(), podOf("rests", "10.244.0.20")))
	w.becomes("10.244.0.20:80", "rests")
	ofRests := time.Now()

	// An hour later, the one is still in use.
	later := time.Now().Add(time.Hour)
	wanted, _ := w.demand.wants.Load(netip.MustParseAddr("10.244.0.11"))
	wanted.used.Store(later.Unix())
	w.demand.tick(later)
	c.gives("/10.244.0.20", nameOf(podOf("rests")))
	require.Equal(t, 1, w.Held().Workloads)
	require.EqualValues(t, 1, w.demand.Demand().Released)
	require.True(t, w.Named(podNames("rests")), "it is not gone, and so its series are not")
	w.is("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk of "+httpbinHost)

	// The address is used again: its holder was there meanwhile.
	w.demand.seconds.Store(time.Now().Unix())
	require.Equal(t, "rests", w.who("10.244.0.20:80", ofRests), "as long as it is retained")
	c.asks("/10.244.0.20")
	c.says(resources("1", podOf("rests", "10.244.0.20")))
	w.becomes("10.244.0.20:80", "rests")
}

func TestThereIsABound(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	config := onDemand(d.address)
	config.MaxAddresses = 2
	w, c := startDemand(t, d, config, identity.SourceSettings{})
	w.is("10.244.0.11:80", "nobody")
	w.is("192.0.2.1:80", "nobody")
	c.asks("/10.244.0.11", "/192.0.2.1")
	w.is("10.244.0.12:80", "nobody")
	require.Eventually(t, func() bool { return w.demand.Demand().Refused == 1 }, within, often)
	c.says(resources("1", httpbin()))
	w.becomes("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk of "+httpbinHost)

	// An address that has had no holder for long makes room.
	for range 3 {
		c.says(removed("/192.0.2.1"))
		c.asks("/192.0.2.1")
	}
	w.is("10.244.0.13:80", "nobody")
	c.asks("/10.244.0.13")
	require.EqualValues(t, 1, w.demand.Demand().Released)
	w.is("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk of "+httpbinHost)
}

func TestAStreamThatBreaksIsTakenUpWithAllNames(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{})
	for _, address := range []string{"10.244.0.11:80", "10.244.0.20:80", "10.244.0.21:80"} {
		w.is(address, "nobody")
	}
	c.asks("/10.244.0.11", "/10.244.0.20", "/10.244.0.21")
	c.says(resources("1", httpbin(), podOf("old", "10.244.0.20"), podOf("stays", "10.244.0.21")))
	w.becomes("10.244.0.21:80", "stays")
	ofOld := time.Now().Add(-2 * time.Second) // what came last before the end may have been missed
	c.breaks()
	c, first := d.connected()
	require.Equal(t, []string{"/10.244.0.11", "/10.244.0.20", "/10.244.0.21"}, named(first.ResourceNamesSubscribe))
	require.Empty(t, first.ResourceNamesUnsubscribe)
	require.Equal(t, map[string]string{nameOf(httpbin()): "1", nameOf(podOf("old")): "1", nameOf(podOf("stays")): "1"}, first.InitialResourceVersions)
	require.False(t, w.InSync())
	w.is("10.244.0.20:80", "nobody") // the address may be another's by now
	between := time.Now()
	w.is("10.244.0.22:80", "nobody")
	c.asks("/10.244.0.22")
	answer := resources("1", podOf("new", "10.244.0.20"))
	answer.RemovedResources = []string{nameOf(podOf("old"))}
	c.says(answer)
	w.becomes("10.244.0.20:80", "new")
	require.True(t, w.InSync())
	w.is("10.244.0.21:80", "stays")
	require.Equal(t, "old", w.who("10.244.0.20:80", ofOld))
	require.NotEqual(t, "old", w.who("10.244.0.20:80", between), "it may have been the other one's")
	require.Equal(t, 3, w.demand.Demand().Known)
}

func TestWhatADirectoryKnowsOfTheTimeIsUsed(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{})
	w.is("10.244.0.11:80", "nobody")
	c.asks("/10.244.0.11")
	since := time.Now().Add(-2 * time.Minute)
	a := httpbin()
	c.says(&discovery.DeltaDiscoveryResponse{Resources: []*discovery.Resource{
		NewResource(nameOf(a), a, Provenance{From: since, Pod: identity.PodUID{1}}),
	}})
	w.becomes("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk of "+httpbinHost)
	require.Equal(t, "nobody", w.who("10.244.0.11:80", since.Add(-time.Minute)), "another one had it then")
	pod, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.11:80")}, since)
	require.Equal(t, identity.PodUID{1}, pod.PodUID)
}

func TestAServiceThatIsNoKubernetesServiceIsAskedForByName(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{})
	w.is("10.244.0.30:80", "nobody")
	c.asks("/10.244.0.30")
	vm := podOf("vm", "10.244.0.30")
	vm.Workload.Services = map[string][]Port{"default/db.example.com": {{5432, 80}}}
	c.says(resources("1", vm))
	c.asks("default/db.example.com")
	w.is("10.244.0.30:80", "vm of db.example.com")
	c.says(resources("1", &Address{Service: &Service{Name: "database", Namespace: "default", Hostname: "db.example.com"}}))
	require.Eventually(t, func() bool {
		pod, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.30:80")}, time.Now())
		return w.Service(netip.AddrPort{}, netip.MustParseAddrPort("10.244.0.30:80"), pod, time.Now()).Name == "database"
	}, within, often)
	c.says(removed(nameOf(vm)))
	c.gives(nameOf(vm), "/10.244.0.30", "default/db.example.com")
	require.Zero(t, w.Held())
}

func TestALookupTakesNoLockAndNoMemory(t *testing.T) {
	d := newDemand(NewDefaultConfig(), demandSettings(), identity.NewIndex(time.Minute), nil)
	end := identity.End{Address: netip.MustParseAddrPort("10.244.0.11:80")}
	now := time.Now()
	d.mu.Lock() // that no record waits for
	defer d.mu.Unlock()
	miss := func() { _, _ = d.Resolve(end, now) }
	require.Zero(t, testing.AllocsPerRun(1000, miss))
	for range maxMisses {
		miss()
	}
	require.NotZero(t, d.counts.missed.Load())
}

func BenchmarkDemandLookup(b *testing.B) {
	d := newDemand(NewDefaultConfig(), demandSettings(), identity.NewIndex(time.Minute), nil)
	held := identity.End{Address: netip.MustParseAddrPort("10.244.0.11:80")}
	d.lookedUp(miss{held.Address.Addr(), 0}, time.Now())
	now := time.Now()
	b.Run("held", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = d.Resolve(held, now)
		}
	})
	missed := identity.End{Address: netip.MustParseAddrPort("10.244.0.12:80")}
	b.Run("missed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = d.Resolve(missed, now)
		}
	})
}

func TestTheBoundIsChecked(t *testing.T) {
	config := onDemand("127.0.0.1:1")
	require.NoError(t, config.Validate())
	for _, n := range []int{0, mostAddresses + 1} {
		config.MaxAddresses = n
		require.ErrorContains(t, config.Validate(), "identity.istio.max_addresses is")
	}
	config.OnDemand = false
	require.NoError(t, config.Validate())
}

func demandSettings() *identity.SourceSettings {
	settings := identity.SourceSettings{Retain: time.Minute}.WithDefaults()
	return &settings
}

// locatedPod is a locator that finds one pod.
type locatedPod struct{ pod identity.PodUID }

func (l locatedPod) Locate(identity.Process, time.Time) (identity.PodUID, identity.Place) {
	return l.pod, identity.PlacePod
}
func (locatedPod) Present(identity.PodUID, time.Time) identity.Presence { return identity.PresenceHere }
func (locatedPod) Generation() uint64                                   { return 0 }
func (locatedPod) Close() error                                         { return nil }

func TestACgroupTellsPodsApartOnceTheirUIDsAreSent(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	first, second := identity.PodUID{1}, identity.PodUID{2}
	w, c := startDemand(t, d, onDemand(d.address), identity.SourceSettings{
		NodeName: "node-1", OpenLocator: func() identity.LocatorCloser { return locatedPod{second} },
	})
	local := &identity.Process{PID: 1, Cgroup: 7}
	at := func() string {
		pod, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("192.168.0.1:80"), Local: local}, time.Now())
		if pod == nil {
			return "nobody"
		}
		return pod.Name
	}
	require.Equal(t, "nobody", at())
	c.asks("/192.168.0.1")
	var all []*discovery.Resource
	for name, uid := range map[string]identity.PodUID{"one": first, "two": second} {
		a := podOf(name, "192.168.0.1")
		a.Workload.HostNetwork, a.Workload.Node = true, "node-1"
		all = append(all, NewResource(nameOf(a), a, Provenance{Pod: uid}))
	}
	c.says(&discovery.DeltaDiscoveryResponse{Resources: all})
	require.Eventually(t, func() bool { return at() == "two" }, within, often)
}
