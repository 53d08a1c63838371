// SPDX-License-Identifier: Apache-2.0

package series

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func istioAlone() Settings {
	return Settings{Enabled: enable(Istio), UnknownAddresses: 1 << 20, Expiration: 10 * time.Minute}
}

// Both ends of one connection, over which the client sent 1,000 bytes and the server 50.
func TestIstioMeansRequestAndResponseBytesForBothReporters(t *testing.T) {
	a := newSubject(istioAlone(), newWorld())
	client, server := closedConnection(), closedConnection()
	client.Direction = flow.Outbound
	client.Delta = flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Sent: 1000, flow.Received: 50}
	server.ID, server.Direction = 8, flow.Inbound
	server.Delta = flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Sent: 50, flow.Received: 1000}
	a.Add(client, noon)
	a.Add(server, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Len(t, snap.Istio.Live, 2)
	require.Empty(t, snap.Service.Live)
	require.Equal(t, []string{"1000 at 1s", "1000 at 1s"}, pointsOf(snap, "istio.tcp.received.bytes"))
	require.Equal(t, []string{"50 at 1s", "50 at 1s"}, pointsOf(snap, "istio.tcp.sent.bytes"))
	require.Equal(t, []string{"1 at 1s", "1 at 1s"}, pointsOf(snap, "istio.tcp.connections.opened"))
	require.Equal(t, []string{"1 at 1s", "1 at 1s"}, pointsOf(snap, "istio.tcp.connections.closed"))
	require.Empty(t, pointsOf(snap, "istio.tcp.connections.failed"))
	require.Equal(t, []string{
		"reporter=source",
		"source_workload=sleep", "source_canonical_service=sleep", "source_canonical_revision=latest",
		"source_workload_namespace=default", "source_principal=unknown", "source_app=sleep", "source_version=latest",
		"source_cluster=Kubernetes",
		"destination_service=httpbin.default.svc.cluster.local", "destination_service_namespace=default",
		"destination_service_name=httpbin",
		"destination_workload=httpbin", "destination_canonical_service=httpbin", "destination_canonical_revision=v1",
		"destination_workload_namespace=default", "destination_principal=unknown", "destination_app=httpbin",
		"destination_version=v1", "destination_cluster=Kubernetes",
		"request_protocol=tcp", "response_flags=-", "connection_security_policy=unknown",
	}, texts(snap.Istio.Live[0].Attributes))
	require.Equal(t, "destination", labelOf(t, snap.Istio.Live[1], "reporter"))
}

func TestWhatIstioDoesNotKnowIsUnknown(t *testing.T) {
	w := newWorld()
	byAddress := &identity.Workload{
		Kind: identity.KindAddress, Name: "192.0.2.7", Addresses: []netip.Addr{strangeAddr.Addr()},
		Names: identity.Names{Workload: "192.0.2.7"}.Handle(),
	}
	for range 2 { // nobody, and what the source `host` calls by its address
		a := newSubject(istioAlone(), w)
		for i := range 5 {
			a.Add(to(outside(i)), noon)
		}
		a.Add(to(strangeAddr), noon)
		p := one(t, a.Snapshot(noon.Add(time.Second)).Istio)
		for _, name := range []string{
			"destination_service", "destination_service_name", "destination_service_namespace", "destination_workload",
			"destination_canonical_service", "destination_workload_namespace", "destination_principal", "destination_version",
		} {
			require.Equal(t, "unknown", labelOf(t, p, name), name)
		}
		require.Equal(t, int64(6), p.Values[flow.Closed])
		require.Zero(t, a.Stats().UnknownAddresses, "addresses are in no label")
		w.Workloads[strangeAddr.Addr()] = byAddress
	}
}

func TestIstioFlagsAreEnvoys(t *testing.T) {
	settings := istioAlone()
	settings.FailureReasons = true // is of Kmesh's sets
	a := newSubject(settings, newWorld())
	for _, reason := range []string{"timed_out", "connection_refused", "EADDRNOTAVAIL", ""} {
		c := failedConnection()
		c.ErrorType = reason
		a.Add(c, noon)
	}
	got := make(map[string]int64)
	for _, p := range a.Snapshot(noon.Add(time.Second)).Istio.Live {
		got[labelOf(t, p, "response_flags")] = p.Values[flow.Failed]
	}
	require.Equal(t, map[string]int64{"UT": 1, "UF": 3}, got)
}

func TestTheIstioSetBesideTheOthers(t *testing.T) {
	settings := everything()
	settings.Enabled = enable(Service, Istio)
	settings.Attributes = map[Set][]string{Istio: {"source_workload", "destination_workload"}}
	a := newSubject(settings, newWorld())
	c := closedConnection()
	c.Direction = flow.Outbound
	a.Add(c, noon)
	a.Add(failedConnection(), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, int64(5), snap.Service.Live[0].Values[flow.Sent])
	p := one(t, snap.Istio)
	require.Equal(t, int64(5), p.Values[flow.Received])
	require.Equal(t, int64(231), p.Values[flow.Sent])
	require.Equal(t, int64(1), p.Values[flow.Failed])
	require.Equal(t, []string{"source_workload=sleep", "destination_workload=httpbin"}, texts(p.Attributes))
	require.NoError(t, CheckAttributes(Istio, []string{"destination_service"}))
	require.Error(t, CheckAttributes(Istio, []string{"destination_pod_name"}))
}
