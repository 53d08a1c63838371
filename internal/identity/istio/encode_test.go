// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// encode is a message as istiod writes it: with fields that say nothing here. The module in the folder conformance compares
// the reading with Istio's own types.
func encode(a *Address) []byte {
	if a.Workload != nil {
		return append(Encode(a), appendMessage(nil, 1, appendNumber(nil, 17, 1))...) // unhealthy: named all the same
	}
	return append(Encode(a), appendMessage(nil, 2, appendMessage(nil, 7, appendText(nil, 1, "a waypoint")))...)
}

func TestWhatADirectorySendsIsWhatItKnows(t *testing.T) {
	m := mesh{clusterID: "another", trustDomain: "another.domain"}
	for _, w := range []*identity.Workload{
		{
			UID: "Kubernetes//Pod/default/httpbin-5c5944c58c-v9mlk", Name: "httpbin-5c5944c58c-v9mlk", NodeName: identity.NewNodeName("node-1"),
			PodUID: identity.PodUID{1, 2, 3}, Tunnel: identity.TunnelHBONE,
			Names: identity.Names{
				Workload: "httpbin", CanonicalService: "bin", CanonicalRevision: "v1", Namespace: "default", Cluster: "Kubernetes",
				Principal: identity.Principal("cluster.local", "default", "httpbin"),
			}.Handle(),
			Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.11"), netip.MustParseAddr("fd00::11")},
			Site:      identity.NewSite("", "eu-1a"),
			Services: []identity.Membership{{
				Service: identity.ServiceKey{Namespace: "default", Host: httpbinHost}, Ports: []identity.Port{{Service: 8000, Target: 80}},
			}},
		},
		{
			UID: "node/node-1", Name: "node-1", HostNetwork: true, Node: true,
			Names:     identity.Names{Workload: "node-1", Cluster: "Kubernetes"}.Handle(),
			Addresses: []netip.Addr{netip.MustParseAddr("192.168.0.1")},
		},
	} {
		since := time.Unix(1_700_000_000, 123)
		sent := Provenance{From: since, Sure: since.Add(time.Second), Pod: w.PodUID, Node: w.Node, Claimed: w.Claimed, Reported: w.Node}
		resource := NewResource(w.UID, AddressOf(w), sent)
		e, err := m.read(resource)
		require.NoError(t, err)
		p, err := provenanceOf(resource.Metadata)
		require.NoError(t, err)
		require.Equal(t, sent, p)
		got := *e.workload
		got.Addresses, got.PodUID, got.Node, got.NodeName = e.within(""), p.Pod, p.Node, identity.NewNodeName(e.node)
		require.True(t, w.Equal(&got), "%+v is not %+v", got, *w)
		require.Equal(t, resource.Version, NewResource(w.UID, AddressOf(w), Provenance{Pod: w.PodUID}).Version, "of another replica")
	}
	s := &identity.Service{
		Host: httpbinHost, Name: "httpbin", Namespace: "default", Ports: []identity.Port{{Service: 8000, Target: 80}},
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.5.5")},
	}
	e, err := m.read(NewResource(ServiceName(s.Key()), AddressOfService(s), Provenance{}))
	require.NoError(t, err)
	got := *e.service
	got.Addresses = e.within("")
	require.Equal(t, s, &got)
}

func TestNamesOfAddresses(t *testing.T) {
	for _, a := range []string{"10.0.0.1", "fd00::1"} {
		network, got, ok := ParseAddressName(AddressName("n1", netip.MustParseAddr(a)))
		require.True(t, ok)
		require.Equal(t, "n1", network)
		require.Equal(t, a, got.String())
	}
	for _, name := range []string{"", "*", "default/" + httpbinHost, "Kubernetes//Pod/default/a", "10.0.0.1", "n/fe80::1%eth0"} {
		_, _, ok := ParseAddressName(name)
		require.False(t, ok, name)
	}
}
