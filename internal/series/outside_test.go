// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unique"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// withNetworks is everything, with names for the outside.
func withNetworks() Settings {
	settings := everything()
	settings.Networks = new(identity.Networks)
	settings.Networks.Add("corp", netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"))
	settings.Networks.Add("docs", netip.MustParsePrefix("192.0.2.0/24"))
	return settings
}

// to is a connection of sleep's, long enough to have series of its own.
func to(destination netip.AddrPort) *flow.Connection {
	c := closedConnection()
	c.Direction, c.Destination, c.Duration = flow.Outbound, destination, time.Minute
	return c
}

func TestADestinationInANetworkHasItsName(t *testing.T) {
	log := &flows{}
	settings := withNetworks()
	a := newSubject(settings, newWorld(), log)
	a.Add(to(strangeAddr), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	common := func(target ...string) []string {
		return append(append([]string{
			"reporter=source",
			"source_workload=sleep", "source_canonical_service=sleep", "source_canonical_revision=latest",
			"source_workload_namespace=default", "source_principal=-", "source_app=sleep", "source_version=latest",
			"source_cluster=Kubernetes",
		}, target...),
			"destination_workload=docs", "destination_canonical_service=docs", "destination_canonical_revision=-",
			"destination_workload_namespace=-", "destination_principal=-", "destination_app=docs",
			"destination_version=-", "destination_cluster=-",
			"request_protocol=tcp", "response_flags=-", "connection_security_policy=unknown")
	}
	service := common("destination_service=docs", "destination_service_namespace=-", "destination_service_name=-")
	require.Equal(t, service, texts(one(t, snap.Service).Attributes))
	require.Equal(t, common("destination_pod_address=-", "destination_pod_namespace=-", "destination_pod_name=-"),
		texts(one(t, snap.Workload).Attributes))
	connection := texts(one(t, snap.Connection).Attributes)
	require.Equal(t, service, connection[:23])
	require.Equal(t, []string{
		"source_address=10.244.0.10:51842", "destination_address=192.0.2.7:443",
		"destination_pod_address=-", "destination_pod_namespace=-", "destination_pod_name=-",
	}, connection[24:])

	require.Len(t, log.lines, 1, "the access log keeps the address")
	f := log.lines[0].flow
	f.Connection = &log.lines[0].connection
	require.Equal(t, "docs", f.Destination.Name)
	require.Equal(t, "192.0.2.7", f.DestinationService())
	require.Zero(t, a.namer.Stats().UnknownDestination)
	require.Zero(t, a.Stats().UnknownAddresses)
}

func TestASourceInANetworkHasItsName(t *testing.T) {
	a := newSubject(withNetworks(), newWorld())
	c := closedConnection()
	c.Source = netip.MustParseAddrPort("[2001:db8::7]:999")
	a.Add(c, noon)
	p := one(t, a.Snapshot(noon.Add(time.Second)).Service)
	require.Equal(t, "corp", labelOf(t, p, "source_workload"))
	require.Equal(t, "-", labelOf(t, p, "source_workload_namespace"))
	require.Equal(t, "httpbin.default.svc.cluster.local", labelOf(t, p, "destination_service"))
}

func TestManyAddressesOfANetworkAreOneSeries(t *testing.T) {
	settings := withNetworks()
	settings.Enabled = enable(Service, Workload)
	a := newSubject(settings, newWorld())
	for i := range 200 {
		a.Add(to(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 443)), noon)
	}
	snap := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, int64(200), one(t, snap.Service).Values[flow.Closed])
	require.Equal(t, int64(200), one(t, snap.Workload).Values[flow.Closed])
}

func TestWhatANetworkIsCalledAsAService(t *testing.T) {
	proxy := netip.MustParseAddrPort("127.0.0.1:15001")
	for name, tt := range map[string]struct {
		destination, original     netip.AddrPort
		service                   *identity.Service
		wantWorkload, wantService string
	}{
		"an address in it":                     {strangeAddr, netip.AddrPort{}, nil, "docs", "docs"},
		"asked for, and rewritten":             {proxy, strangeAddr, nil, "-", "docs"},
		"asked for one, gone to another":       {netip.MustParseAddrPort("10.9.9.9:80"), strangeAddr, nil, "corp", "docs"},
		"asked for a pod, and rewritten":       {proxy, sleepAddr, nil, "-", "10.244.0.10"},
		"a pod without a service":              {sleepAddr, netip.AddrPort{}, nil, "sleep", "10.244.0.10"},
		"asked for nobody, gone to it":         {strangeAddr, netip.MustParseAddrPort("203.0.113.1:1"), nil, "docs", "203.0.113.1"},
		"a service whose pod is not known":     {serviceAddr, netip.AddrPort{}, httpbinService, "-", "httpbin.default.svc.cluster.local"},
		"a service whose end is a machine's":   {strangeAddr, serviceAddr, httpbinService, "docs", "httpbin.default.svc.cluster.local"},
		"an address that nobody has a name of": {netip.MustParseAddrPort("203.0.113.1:1"), netip.AddrPort{}, nil, "-", "203.0.113.1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			if tt.service != nil {
				service := *tt.service
				service.Addresses = []netip.Addr{serviceAddr.Addr()}
				w.Services[serviceAddr] = &service
			}
			a := newSubject(withNetworks(), w)
			c := to(tt.destination)
			c.Original = tt.original
			a.Add(c, noon)
			snap := a.Snapshot(noon.Add(time.Second))
			for _, p := range []Points{snap.Service, snap.Connection} {
				require.Equal(t, tt.wantWorkload, labelOf(t, one(t, p), "destination_workload"))
				require.Equal(t, tt.wantService, labelOf(t, one(t, p), "destination_service"))
			}
		})
	}
}

func TestTheSeriesOfANetworkOutlivesWorkloadsThatGo(t *testing.T) {
	a := newSubject(withNetworks(), newWorld())
	a.Add(to(strangeAddr), noon)
	a.EndGone(func(n unique.Handle[identity.Names]) bool { return n == sleepPod.Names })
	a.Delivered(a.Snapshot(noon).ID())
	snap := a.Snapshot(noon.Add(time.Second))
	require.Len(t, snap.Service.Live, 1)
	require.Len(t, snap.Workload.Live, 1)
	require.Empty(t, snap.Service.Ended)
}

// outside gives the nth address that nobody has.
func outside(n int) netip.AddrPort { return netip.AddrPortFrom(address(n), 443) }

func TestPastTheLimitUnknownDestinationsShareOther(t *testing.T) {
	settings := everything()
	settings.UnknownAddresses = 3
	settings.Enabled = enable(Service, Workload)
	a := newSubject(settings, newWorld())
	for range 2 {
		for i := range 10 {
			a.Add(to(outside(i)), noon)
		}
	}
	snap := a.Snapshot(noon.Add(time.Second))
	for name, p := range map[string]Points{"destination_service": snap.Service, "destination_pod_address": snap.Workload} {
		require.Len(t, p.Live, 4, name)
		require.Equal(t, int64(20), total(p.Live)[flow.Closed])
		for i, want := range []string{"192.0.0.0", "192.0.0.1", "192.0.0.2", "other"} {
			require.Equal(t, want, labelOf(t, p.Live[i], name))
			require.Equal(t, "-", labelOf(t, p.Live[i], "destination_workload"))
			require.Equal(t, 23, p.Live[i].Attributes.Len())
		}
		require.Equal(t, int64(14), p.Live[3].Values[flow.Closed])
	}
	stats := a.Stats()
	require.Equal(t, 3, stats.UnknownAddresses)
	require.Equal(t, uint64(14), stats.UnknownAddressesRefused)

	// Pods are bounded as such, and need no place.
	a.Add(to(sleepAddr), noon)
	require.Equal(t, uint64(14), a.Stats().UnknownAddressesRefused)
}

func TestPlacesComeBackWithTheSeriesThatEnd(t *testing.T) {
	settings := everything()
	settings.UnknownAddresses = 2
	settings.Enabled = enable(Service, Workload)
	a := newSubject(settings, newWorld())
	at := noon
	pass := func() {
		at = at.Add(6 * time.Minute)
		a.Delivered(a.Snapshot(at).ID())
	}
	for i := range 4 {
		a.Add(to(outside(i)), at)
	}
	pass()
	a.Add(to(outside(0)), at) // goes on
	pass()                    // the others rested for too long: they end
	pass()                    // and are forgotten
	a.Add(to(outside(0)), at)
	require.Equal(t, 1, a.Stats().UnknownAddresses)
	a.Add(to(outside(3)), at)
	a.Add(to(outside(4)), at)
	require.Equal(t, 2, a.Stats().UnknownAddresses)
	snap := a.Snapshot(at)
	var labelled []string
	for _, p := range snap.Service.Live {
		labelled = append(labelled, labelOf(t, p, "destination_service"))
	}
	require.ElementsMatch(t, []string{"192.0.0.0", "192.0.0.3", "other"}, labelled)
	for range 5 {
		pass()
	}
	require.Zero(t, a.Stats().UnknownAddresses)
	require.Empty(t, a.addresses.used)
	require.Zero(t, a.Stats().Service.Series)
}

func TestWithoutPlacesNoUnknownAddressIsInLabels(t *testing.T) {
	settings := everything()
	settings.UnknownAddresses = -1
	a := newSubject(settings, newWorld())
	a.Add(to(strangeAddr), noon)
	snap := a.Snapshot(noon)
	require.Equal(t, "other", labelOf(t, one(t, snap.Service), "destination_service"))
	require.Equal(t, "other", labelOf(t, one(t, snap.Workload), "destination_pod_address"))
}

// host is a resolver that gives every address that it does not know for a name, as the source `host` does.
type host struct{ *world }

func (h host) Resolve(end identity.End, at time.Time) (*identity.Workload, bool) {
	if w, settled := h.world.Resolve(end, at); w != nil {
		return w, settled
	}
	return identity.AddressWorkload(end.Address.Addr()), true
}

func TestAnAddressForANameHasAPlaceOrIsOneOfTheOthers(t *testing.T) {
	settings := withNetworks()
	settings.UnknownAddresses = 2
	settings.Enabled = enable(Service, Workload)
	a := newSubject(settings, host{newWorld()})
	a.Add(to(outside(0x00_ff_00_00)), noon) // 192.255.0.0
	inbound := closedConnection()
	for i := range 3 {
		inbound.Source = outside(0x00_ff_00_00 + i)
		a.Add(inbound, noon)
	}
	a.Add(to(outside(0x00_ff_00_02)), noon)
	a.Add(to(strangeAddr), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	labelled := func(p Points, names ...string) (all []string) {
		for _, point := range p.Live {
			var labels []string
			for _, name := range names {
				labels = append(labels, labelOf(t, point, name))
			}
			all = append(all, strings.Join(labels, " "))
		}
		return all
	}
	require.Equal(t, []string{
		"sleep 192.255.0.0 192.255.0.0",
		"192.255.0.0 httpbin httpbin.default.svc.cluster.local",
		"192.255.0.1 httpbin httpbin.default.svc.cluster.local",
		"other httpbin httpbin.default.svc.cluster.local",
		"sleep other other", "sleep docs docs",
	}, labelled(snap.Service, "source_workload", "destination_workload", "destination_service"))
	require.Equal(t, []string{
		"sleep 192.255.0.0 192.255.0.0 192.255.0.0",
		"192.255.0.0 httpbin 10.244.0.11 httpbin-5c5944c58c-v9mlk",
		"192.255.0.1 httpbin 10.244.0.11 httpbin-5c5944c58c-v9mlk",
		"other httpbin 10.244.0.11 httpbin-5c5944c58c-v9mlk",
		"sleep other other -", "sleep docs - -",
	}, labelled(snap.Workload, "source_workload", "destination_workload", "destination_pod_address", "destination_pod_name"))
}

func TestNamesOfTheOutsideCostNoAllocation(t *testing.T) {
	w := newWorld()
	w.Silent = true
	settings := withNetworks()
	settings.UnknownAddresses = 1
	settings.Enabled = enable(Service, Workload)
	a := newSubject(settings, w, discard{})
	records := []*flow.Connection{to(strangeAddr), to(outside(0)), to(outside(1))}
	rewritten := to(netip.MustParseAddrPort("127.0.0.1:15001"))
	rewritten.Original = strangeAddr
	records = append(records, rewritten)
	add := func() {
		for _, c := range records {
			a.Add(c, noon)
		}
	}
	add()
	require.Zero(t, testing.AllocsPerRun(1000, add))
}

func TestAHundredThousandPeersFromOutsideAreBounded(t *testing.T) {
	const peers, megabyte, records = 100_000, 1 << 20, 2*100_000 + 1000
	long := strings.Repeat("\xffx\u20ac", megabyte/5)
	w := newWorld()
	w.Silent = true
	hostile := &identity.Workload{
		Name: long + "pod", Names: unique.Make(identity.Names{Workload: long, Namespace: long, Principal: long + "p"}),
	}
	w.Workloads[httpbinAddr.Addr()] = hostile
	w.Services[httpbinAddr] = &identity.Service{Host: long, Name: "\xff", Namespace: long + "n"}
	settings := everything()
	settings.UnknownAddresses = 0 // the default
	settings.Enabled = enable(Service, Workload)
	a := newSubject(settings, w)
	at := noon
	for i := range peers {
		c := to(outside(i))
		c.Start = at
		a.Add(c, at)    // a known workload's, to somewhere
		if i%100 == 0 { // a megabyte takes its time to compare
			in := closedConnection()
			in.Source, in.Start = outside(i), at
			a.Add(in, at) // somebody's, to one with hostile names
		}
		both := to(outside(peers + i))
		both.Source = outside(i)
		a.Add(both, at)
	}
	snap := a.Snapshot(at)
	for _, p := range []Points{snap.Service, snap.Workload} {
		require.LessOrEqual(t, len(p.Live), 2*1000+3)
		require.Equal(t, int64(records), total(p.Live)[flow.Closed])
		require.Equal(t, int64(records*231), total(p.Live)[flow.Received])
		met := map[string]bool{}
		for _, point := range p.Live {
			for name, value := range point.Attributes.All() {
				require.True(t, utf8.ValidString(value.Str()), name)
				require.LessOrEqual(t, len(value.Str()), 1024, name)
				require.NotEmpty(t, value.Str(), name)
			}
			labels := fmt.Sprint(texts(point.Attributes))
			require.False(t, met[labels], "two series with the same labels")
			met[labels] = true
		}
	}
	require.Equal(t, 500, a.Stats().UnknownAddresses, "sleep and nobody have their shares, and no more")
	require.Zero(t, a.Stats().Service.Refused)

	a.Delivered(snap.ID())
	for range 3 {
		at = at.Add(11 * time.Minute)
		a.Delivered(a.Snapshot(at).ID())
	}
	require.Zero(t, a.Stats().UnknownAddresses)
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	require.Less(t, memory.HeapAlloc, uint64(64<<20))
	runtime.KeepAlive(a)
}
