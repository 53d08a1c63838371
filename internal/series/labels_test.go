// SPDX-License-Identifier: Apache-2.0

package series

import (
	"net/netip"
	"testing"
	"time"
	"unicode/utf8"
	"unique"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestWorkloadSeriesHasTheContractsSample(t *testing.T) {
	settings := everything()
	settings.SecurityPolicy = "mutual_tls"
	a := newSubject(settings, newWorld())
	a.Add(closedConnection(), noon)
	p := one(t, a.Snapshot(noon.Add(time.Second)).Workload)
	require.Equal(t, int64(231), p.Values[flow.Received])
	require.Equal(t, []string{
		"reporter=destination",
		"source_workload=sleep", "source_canonical_service=sleep", "source_canonical_revision=latest",
		"source_workload_namespace=default", "source_principal=-", "source_app=sleep", "source_version=latest",
		"source_cluster=Kubernetes",
		"destination_pod_address=10.244.0.11", "destination_pod_namespace=default",
		"destination_pod_name=httpbin-5c5944c58c-v9mlk",
		"destination_workload=httpbin", "destination_canonical_service=httpbin", "destination_canonical_revision=v1",
		"destination_workload_namespace=default", "destination_principal=-", "destination_app=httpbin",
		"destination_version=v1", "destination_cluster=Kubernetes",
		"request_protocol=tcp", "response_flags=-", "connection_security_policy=mutual_tls",
	}, texts(p.Attributes))
}

func TestServiceSeriesHasAllLabels(t *testing.T) {
	a := newSubject(everything(), newWorld())
	a.Add(closedConnection(), noon)
	require.Equal(t, []string{
		"reporter=destination",
		"source_workload=sleep", "source_canonical_service=sleep", "source_canonical_revision=latest",
		"source_workload_namespace=default", "source_principal=-", "source_app=sleep", "source_version=latest",
		"source_cluster=Kubernetes",
		"destination_service=httpbin.default.svc.cluster.local", "destination_service_namespace=default",
		"destination_service_name=httpbin",
		"destination_workload=httpbin", "destination_canonical_service=httpbin", "destination_canonical_revision=v1",
		"destination_workload_namespace=default", "destination_principal=-", "destination_app=httpbin",
		"destination_version=v1", "destination_cluster=Kubernetes",
		"request_protocol=tcp", "response_flags=-", "connection_security_policy=unknown",
	}, texts(one(t, a.Snapshot(noon.Add(time.Second)).Service).Attributes))
}

func TestConnectionSeriesHasTheServiceLabelsAndItsOwn(t *testing.T) {
	a := newSubject(everything(), newWorld())
	c := closedConnection()
	c.Start, c.Duration = time.Date(2026, 3, 1, 13, 0, 0, 120, time.FixedZone("CET", 3600)), time.Minute
	a.Add(c, noon.Add(time.Minute))
	snap := a.Snapshot(noon.Add(2 * time.Minute))
	p := one(t, snap.Connection)
	labels := texts(p.Attributes)
	require.Len(t, labels, 29)
	require.Equal(t, texts(one(t, snap.Service).Attributes), labels[:23])
	require.Equal(t, []string{
		"start_time=2026-03-01T12:00:00.000000120Z",
		"source_address=10.244.0.10:51842", "destination_address=10.244.0.11:80",
		"destination_pod_address=10.244.0.11", "destination_pod_namespace=default",
		"destination_pod_name=httpbin-5c5944c58c-v9mlk",
	}, labels[23:])
}

func TestUnknownEndsKeepReporterAndAddress(t *testing.T) {
	a := newSubject(everything(), newWorld())
	c := closedConnection()
	c.Source, c.Destination = netip.MustParseAddrPort("[2001:db8::1]:9"), strangeAddr
	a.Add(c, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	service, workload := one(t, snap.Service), one(t, snap.Workload)
	require.Equal(t, "192.0.2.7", labelOf(t, service, "destination_service"))
	require.Equal(t, "192.0.2.7", labelOf(t, workload, "destination_pod_address"))
	known := map[string]bool{
		"reporter": true, "destination_service": true, "destination_pod_address": true, "request_protocol": true,
		"connection_security_policy": true,
	}
	for _, p := range []Point{service, workload} {
		require.Equal(t, 23, p.Attributes.Len())
		require.Equal(t, "destination", labelOf(t, p, "reporter"))
		for k, v := range p.Attributes.All() {
			if !known[k] {
				require.Equal(t, "-", v.Str(), k)
			}
		}
	}
}

func TestUnknownServiceIsTheAddressThatWasAskedFor(t *testing.T) {
	a := newSubject(everything(), newWorld())
	c := closedConnection()
	c.Destination, c.Original = netip.MustParseAddrPort("127.0.0.1:15001"), strangeAddr
	a.Add(c, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, "192.0.2.7", labelOf(t, one(t, snap.Service), "destination_service"))
	require.Equal(t, "127.0.0.1", labelOf(t, one(t, snap.Workload), "destination_pod_address"))
}

func TestAServiceWhosePodIsUnknownHasTheServicesAddress(t *testing.T) {
	a := newSubject(everything(), newWorld())
	c := closedConnection()
	c.Destination = serviceAddr
	a.Add(c, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	service := one(t, snap.Service)
	require.Equal(t, "httpbin.default.svc.cluster.local", labelOf(t, service, "destination_service"))
	require.Equal(t, "-", labelOf(t, service, "destination_workload"))
	require.Equal(t, serviceAddr.Addr().String(), labelOf(t, one(t, snap.Workload), "destination_pod_address"))
}

func TestSecurityPolicy(t *testing.T) {
	plain := *httpbinPod
	plain.Tunnel = identity.TunnelNone
	tunnel := netip.AddrPortFrom(httpbinAddr.Addr(), 15008)
	for name, tt := range map[string]struct {
		policy      string
		destination netip.AddrPort
		original    netip.AddrPort
		workload    *identity.Workload
		want        string
	}{
		"tunnel port of an HBONE workload":      {PolicyAuto, tunnel, netip.AddrPort{}, httpbinPod, "mutual_tls"},
		"auto is the default":                   {"", tunnel, netip.AddrPort{}, httpbinPod, "mutual_tls"},
		"other port of an HBONE workload":       {PolicyAuto, httpbinAddr, netip.AddrPort{}, httpbinPod, "unknown"},
		"tunnel port of another workload":       {PolicyAuto, tunnel, netip.AddrPort{}, &plain, "unknown"},
		"tunnel port of nobody":                 {PolicyAuto, tunnel, netip.AddrPort{}, nil, "unknown"},
		"tunnel port asked for but not gone to": {PolicyAuto, httpbinAddr, tunnel, httpbinPod, "unknown"},
		"constant":                              {"mutual_tls", httpbinAddr, netip.AddrPort{}, &plain, "mutual_tls"},
		"another constant":                      {"none", tunnel, netip.AddrPort{}, httpbinPod, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			w, settings := newWorld(), everything()
			w.Workloads[httpbinAddr.Addr()] = tt.workload
			settings.SecurityPolicy = tt.policy
			a := newSubject(settings, w)
			c := closedConnection()
			c.Destination, c.Original, c.Duration = tt.destination, tt.original, time.Minute
			a.Add(c, noon)
			snap := a.Snapshot(noon.Add(time.Second))
			for _, p := range []Points{snap.Service, snap.Workload, snap.Connection} {
				require.Equal(t, tt.want, labelOf(t, one(t, p), "connection_security_policy"))
			}
		})
	}
}

func TestServicePublishedAnewKeepsItsSeries(t *testing.T) {
	w := newWorld()
	a := newSubject(everything(), w)
	a.Add(closedConnection(), noon)
	again, pod := *httpbinService, *httpbinPod
	w.Services[httpbinAddr] = &again
	w.Workloads[httpbinAddr.Addr()] = &pod
	a.Add(closedConnection(), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, int64(2), one(t, snap.Service).Values[flow.Closed])
	require.Equal(t, int64(2), one(t, snap.Workload).Values[flow.Closed])
}

func TestEveryNameMakesItsOwnSeries(t *testing.T) {
	w := newWorld()
	a := newSubject(everything(), w)
	base := httpbinPod.Names.Value()
	for i, change := range []func(*identity.Names){
		func(*identity.Names) {},
		func(n *identity.Names) { n.Workload = "other" },
		func(n *identity.Names) { n.CanonicalService = "other" },
		func(n *identity.Names) { n.CanonicalRevision = "v2" },
		func(n *identity.Names) { n.Namespace = "other" },
		func(n *identity.Names) { n.Principal = "spiffe://other" },
		func(n *identity.Names) { n.Cluster = "other" },
	} {
		names := base
		change(&names)
		pod := *httpbinPod
		pod.Names = unique.Make(names)
		w.Workloads[httpbinAddr.Addr()] = &pod
		a.Add(closedConnection(), noon)
		require.Len(t, a.Snapshot(noon).Service.Live, i+1)
	}
}

func FuzzLabelsAreUTF8AndNeverEmpty(f *testing.F) {
	f.Add("httpbin", "\xff\xfe", "")
	f.Add("", "-", "\xc3\x28")
	f.Fuzz(func(t *testing.T, workload, pod, policy string) {
		w := newWorld()
		w.Workloads[httpbinAddr.Addr()] = &identity.Workload{
			Name: pod, Names: unique.Make(identity.Names{Workload: workload, Namespace: workload, Principal: pod}),
		}
		w.Services[httpbinAddr] = &identity.Service{Host: pod, Name: workload}
		settings := everything()
		settings.SecurityPolicy = policy
		a := newSubject(settings, w)
		c := closedConnection()
		c.Duration = time.Minute
		a.Add(c, noon)
		snap := a.Snapshot(noon.Add(time.Second))
		for _, p := range []Points{snap.Service, snap.Workload, snap.Connection} {
			for k, v := range one(t, p).Attributes.All() {
				require.True(t, utf8.ValidString(v.Str()), k)
				require.NotEmpty(t, v.Str(), k)
			}
		}
	})
}
