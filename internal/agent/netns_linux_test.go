// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/cgroup"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// The pods of the siege: sleep opens connections to httpbin, and mallory is a third one.
const (
	besiegedSleep, besiegedHTTPBin, besiegerAddress = "10.211.77.10", "10.211.77.11", "10.211.77.12"
	besiegedServer                                  = besiegedHTTPBin + ":9000"
)

var besiegedPods = map[string]struct{ address, uid string }{
	"sleep":   {besiegedSleep, "aaaaaaaa-2fa1-11d2-883f-0016d3cca427"},
	"httpbin": {besiegedHTTPBin, "bbbbbbbb-2fa1-11d2-883f-0016d3cca427"},
	"mallory": {besiegerAddress, "cccccccc-2fa1-11d2-883f-0016d3cca427"},
}

// forge makes a host have the pods' addresses, and come from the one when it connects to the other.
func forge(h *testhost.Host) {
	h.Run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1") // its neighbours still find the pods
	for _, address := range []string{besiegedSleep, besiegedHTTPBin} {
		h.Run("ip", "addr", "replace", address+"/32", "dev", "lo")
	}
	h.Run("ip", "route", "replace", "local", besiegedHTTPBin, "dev", "lo", "table", "local", "src", besiegedSleep)
}

// While two pods talk, others give themselves the pods' addresses in network namespaces of their own: a user of the host, a
// process in a pod, and a pod that may configure its network. The pods' series do not change by a byte.
func TestAnImpostorsNetworkNamespaceChangesNothingOfAPodsSeries(t *testing.T) {
	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", besiegedSleep+"/24")
	httpbin := network.Host("httpbin", besiegedHTTPBin+"/24")
	mallory := network.Host("mallory", besiegerAddress+"/24")
	user, inPod := testhost.UserHost(t, "user"), testhost.UserHost(t, "pod")
	mount, err := probe.CgroupRoot("")
	require.NoError(t, err)
	cgroups := testhost.NewCgroups(t, mount)
	places := map[string]string{"user": cgroups.Make("user.slice/user-1000.slice")}
	for name, pod := range besiegedPods {
		places[name] = cgroups.Make("kubepods/besteffort/pod" + pod.uid + "/1")
	}
	tree, err := cgroup.Open(mount)
	require.NoError(t, err)
	defer func() { require.NoError(t, tree.Close()) }()

	s := newSiege(t, map[string][]identity.IndexOption{"by cgroup": {identity.WithLocator(tree)}, "by address": nil})
	httpbin.Serve(places["httpbin"], besiegedServer)
	talk := func() { sleep.Dial(places["sleep"], besiegedServer) }
	mallory.Serve(places["mallory"], besiegerAddress+":9000")
	for _, h := range []*testhost.Host{user, inPod} { // before anybody else
		forge(h)
	}
	user.Serve(places["user"], besiegedServer)
	inPod.Serve(places["mallory"], besiegedServer)
	attack := func() {
		user.Dial(places["user"], besiegedServer)
		inPod.Dial(places["mallory"], besiegedServer)
	}
	attack()
	s.until(2 * 2)
	talk()
	mallory.Dial(places["mallory"], besiegerAddress+":9000")
	s.until(2*2 + 2*2)
	requireSeries := func(connections int64, others map[string]int64) {
		t.Helper()
		want := map[string]int64{
			"source sleep httpbin kmesh.tcp.connections.opened": connections, "destination sleep httpbin kmesh.tcp.connections.opened": connections,
			"source sleep httpbin kmesh.tcp.connections.closed": connections, "destination sleep httpbin kmesh.tcp.connections.closed": connections,
			"source sleep httpbin kmesh.tcp.sent": 3 * connections, "destination sleep httpbin kmesh.tcp.sent": 5 * connections,
			"source sleep httpbin kmesh.tcp.received": 5 * connections, "destination sleep httpbin kmesh.tcp.received": 3 * connections,
		}
		for name, sums := range s.sums(t) {
			if name == "by cgroup" {
				require.Equal(t, want, sums, name)
				continue
			}
			for key, value := range want {
				require.Equal(t, value+others[key], sums[key], "%s: %s", name, key)
			}
		}
	}
	requireSeries(1, nil)

	// Root in a pod's own network can be anybody as far as addresses show: only the cgroup shows who it is.
	forge(mallory)
	mallory.Serve(places["mallory"], besiegedServer)
	const rounds = 4
	for range rounds {
		attack()
		mallory.Dial(places["mallory"], besiegedServer)
		talk()
	}
	s.until(2*2 + 2*2 + rounds*8)
	all := make(map[string]int64)
	for _, reporter := range []string{"source", "destination"} {
		for counter, each := range map[string]int64{"connections.opened": 1, "connections.closed": 1, "sent": 3, "received": 5} {
			if reporter == "destination" && each > 1 {
				each = 8 - each
			}
			all[reporter+" sleep httpbin kmesh.tcp."+counter] = rounds * each
		}
	}
	requireSeries(1+rounds, all)
	require.Equal(t, map[string]uint64{"by cgroup": 4 + rounds*6, "by address": 4 + rounds*4}, s.impostors())
}

// siege names what one probe reads by several indices of the same pods.
type siege struct {
	t       *testing.T
	probe   *probe.Probe
	decoder *decoder
	namers  map[string]*naming.Namer
	series  map[string]*series.Sets
	closed  int // ends
}

func newSiege(t *testing.T, indices map[string][]identity.IndexOption) *siege {
	s := &siege{t: t, decoder: newDecoder(), namers: make(map[string]*naming.Namer), series: make(map[string]*series.Sets)}
	for name, options := range indices {
		index := identity.NewIndex(time.Minute, options...)
		for workload, pod := range besiegedPods {
			uid, _ := identity.ParsePodUID(pod.uid)
			index.Upsert(&identity.Workload{
				UID: workload, Name: workload, PodUID: uid, Addresses: []netip.Addr{netip.MustParseAddr(pod.address)},
				Names: identity.Names{Workload: workload, Cluster: "Kubernetes"}.Handle(),
			}, time.Time{}, time.Now())
		}
		s.series[name] = series.New(series.Settings{Enabled: metricsOf(series.Service), Expiration: time.Hour},
			pcommon.NewResource(), pcommon.NewInstrumentationScope())
		s.namers[name] = naming.New(naming.Settings{Settle: 20 * time.Second}, index, nil, s.series[name])
	}
	var err error
	s.probe, err = probe.Open(probe.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.probe.Close()) })
	return s
}

// until reads until so many ends have closed and all are named.
func (s *siege) until(ends int) {
	s.t.Helper()
	pods := netip.MustParsePrefix("10.211.77.0/24")
	take := func(r *probe.Record) {
		c := s.decoder.record(r, s.probe.Clock())
		if !pods.Contains(c.Source.Addr()) || r.Kind == probe.KindFailed { // each server tries its own address once
			return
		}
		if r.Kind == probe.KindClosed {
			s.closed++
		}
		for _, namer := range s.namers {
			again := *c
			namer.Add(&again, time.Now())
		}
	}
	require.Eventually(s.t, func() bool {
		require.NoError(s.t, s.probe.Read(time.Now().Add(10*time.Millisecond), take))
		waiting := 0
		for _, namer := range s.namers {
			namer.Settle(time.Now())
			waiting += namer.Stats().Waiting
		}
		return s.closed >= ends && waiting == 0
	}, 15*time.Second, time.Millisecond, "the records did not come: %d ends are expected", ends)
	require.Equal(s.t, ends, s.closed)
}

// sums returns the value of each series that has a pod of the siege at both ends, but mallory's with herself.
func (s *siege) sums(t *testing.T) map[string]map[string]int64 {
	all := make(map[string]map[string]int64)
	for name, set := range s.series {
		sums := make(map[string]int64)
		for metrics := range set.Snapshot(time.Now()).Batches() {
			eachPoint(metrics, func(metric string, p pmetric.NumberDataPoint) {
				text := func(label string) string {
					value, ok := p.Attributes().Get(label)
					require.True(t, ok)
					return value.Str()
				}
				source, destination := text("source_workload"), text("destination_workload")
				if (source != "mallory" || destination != "mallory") && p.IntValue() != 0 {
					sums[text("reporter")+" "+source+" "+destination+" "+metric] = p.IntValue()
				}
			})
		}
		all[name] = sums
	}
	return all
}

func (s *siege) impostors() map[string]uint64 {
	all := make(map[string]uint64)
	for name, namer := range s.namers {
		all[name] = namer.Stats().Impostors
	}
	return all
}
