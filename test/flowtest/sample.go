// SPDX-License-Identifier: Apache-2.0

package flowtest

import (
	"net/netip"
	"time"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// The ends of the telemetry contract's access log line.
var (
	PrometheusPod = &identity.Workload{
		Name: "prometheus-5fb7f6f8d8-h9cts",
		Names: unique.Make(identity.Names{
			Workload: "prometheus", CanonicalService: "prometheus", CanonicalRevision: "latest",
			Namespace: "istio-system", Principal: "spiffe://cluster.local/ns/istio-system/sa/prometheus", Cluster: "Kubernetes",
		}),
	}
	ProductpagePod = &identity.Workload{
		Name: "productpage-v1-8499c849b9-bz9t9",
		Names: unique.Make(identity.Names{
			Workload: "productpage-v1", CanonicalService: "productpage", CanonicalRevision: "v1",
			Namespace: "echo-1-27855", Principal: "-", Cluster: "-",
		}),
	}
	ProductpageService = &identity.Service{
		Host: "productpage.echo-1-27855.svc.cluster.local", Name: "productpage", Namespace: "echo-1-27855",
	}
	ProductpageAddr = netip.MustParseAddrPort("10.244.0.13:9080")
)

// SampleWorld is a resolver that knows the ends of Sample.
type SampleWorld struct{}

// Resolve implements identity.Resolver.
func (SampleWorld) Resolve(end identity.End, _ time.Time) (*identity.Workload, bool) {
	switch end.Address.Addr().String() {
	case "10.244.0.17":
		return PrometheusPod, true
	case "10.244.0.13":
		return ProductpagePod, true
	}
	return nil, true
}

// Service implements identity.Resolver.
func (SampleWorld) Service(_, destination netip.AddrPort, _ *identity.Workload, _ time.Time) *identity.Service {
	if destination == ProductpageAddr {
		return ProductpageService
	}
	return nil
}

// Untrusted implements identity.Resolver.
func (SampleWorld) Untrusted(identity.Netns) bool { return false }

// Impostor implements identity.Resolver.
func (SampleWorld) Impostor(identity.End, time.Time) bool { return false }

// Generation implements identity.Resolver.
func (SampleWorld) Generation() uint64 { return 0 }

// Sample is the connection of the contract's access log line, as its server's end reports it.
func Sample() *flow.Connection {
	const duration = 2733902 * time.Nanosecond
	return &flow.Connection{
		ID: 0x1001, Event: flow.EventClosed, Direction: flow.Inbound,
		Source: netip.MustParseAddrPort("10.244.0.17:51842"), Destination: ProductpageAddr,
		Start: Noon.Add(-duration), At: Noon, Duration: duration, Opened: true,
		Total: flow.Counters{flow.Sent: 5, flow.Received: 292, flow.Retransmits: 1, flow.Lost: 2},
		Delta: flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Sent: 5, flow.Received: 292, flow.Retransmits: 1, flow.Lost: 2},
		SRTT:  40515 * time.Microsecond, MinRTT: 38 * time.Microsecond,
		State: flow.StateClose, Reason: flow.ReasonFIN,
	}
}

// FailedSample is a connect to an address that nobody has, which was refused.
func FailedSample() *flow.Connection {
	return &flow.Connection{
		ID: 0x1002, Event: flow.EventFailed, Direction: flow.Outbound,
		Source: netip.MustParseAddrPort("10.244.0.17:51843"), Destination: netip.MustParseAddrPort("[2001:db8::7]:443"),
		Start: Noon.Add(-time.Second), At: Noon, Duration: time.Second, Total: flow.Counters{flow.Retransmits: 1},
		Delta: flow.Counters{flow.Failed: 1, flow.Retransmits: 1},
		State: flow.StateClose, ErrorType: flow.ErrorConnectionRefused,
	}
}

// Name names the ends of a connection by a resolver, as package naming does for one that need not wait.
func Name(c *flow.Connection, by identity.Resolver) *flow.Flow {
	f := &flow.Flow{Connection: c, Observed: Noon.Add(50 * time.Millisecond)}
	f.Source, _ = by.Resolve(identity.End{Address: c.Source, Peer: c.Destination}, c.Start)
	f.Destination, _ = by.Resolve(identity.End{Address: c.Destination, Peer: c.Source, Server: true}, c.Start)
	f.Service = by.Service(c.Original, c.Destination, f.Destination, c.Start)
	return f
}
