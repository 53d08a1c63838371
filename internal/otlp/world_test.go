// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/netip"
	"time"
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	prometheusPod = &identity.Workload{
		Name: "prometheus-5fb7f6f8d8-h9cts", Namespace: "istio-system",
		Names: unique.Make(identity.Names{
			Workload: "prometheus", CanonicalService: "prometheus", CanonicalRevision: "latest",
			Namespace: "istio-system", Principal: "spiffe://cluster.local/ns/istio-system/sa/prometheus", Cluster: "Kubernetes",
		}),
	}
	productpagePod = &identity.Workload{
		Name: "productpage-v1-8499c849b9-bz9t9", Namespace: "echo-1-27855",
		Names: unique.Make(identity.Names{
			Workload: "productpage-v1", CanonicalService: "productpage", CanonicalRevision: "v1",
			Namespace: "echo-1-27855", Principal: "-", Cluster: "-",
		}),
	}
	productpageService = &identity.Service{
		Host: "productpage.echo-1-27855.svc.cluster.local", Name: "productpage", Namespace: "echo-1-27855",
	}
	productpageAddr = netip.MustParseAddrPort("10.244.0.13:9080")
)

// world knows who the contract's sample names.
type world struct{}

func (world) Resolve(end identity.End, _ time.Time) (*identity.Workload, bool) {
	switch end.Address.Addr().String() {
	case "10.244.0.17":
		return prometheusPod, true
	case "10.244.0.13":
		return productpagePod, true
	}
	return nil, true
}

func (world) Service(_, destination netip.AddrPort, _ *identity.Workload, _ time.Time) *identity.Service {
	if destination == productpageAddr {
		return productpageService
	}
	return nil
}

func (world) Generation() uint64 { return 0 }

// sample is the connection of the contract's access log line.
func sample() *flow.Connection {
	const duration = 2733902 * time.Nanosecond
	return &flow.Connection{
		ID: 0x1001, Event: flow.EventClosed, Direction: flow.Inbound,
		Source: netip.MustParseAddrPort("10.244.0.17:51842"), Destination: productpageAddr,
		Start: noon.Add(-duration), At: noon, Duration: duration, Opened: true,
		Total: flow.Counters{flow.Sent: 5, flow.Received: 292, flow.Retransmits: 1, flow.Lost: 2},
		Delta: flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Sent: 5, flow.Received: 292, flow.Retransmits: 1, flow.Lost: 2},
		SRTT:  40515 * time.Microsecond, MinRTT: 38 * time.Microsecond,
		State: flow.StateClose, Reason: flow.ReasonFIN,
	}
}

func failedSample() *flow.Connection {
	return &flow.Connection{
		ID: 0x1002, Event: flow.EventFailed, Direction: flow.Outbound,
		Source: netip.MustParseAddrPort("10.244.0.17:51843"), Destination: netip.MustParseAddrPort("[2001:db8::7]:443"),
		Start: noon.Add(-time.Second), At: noon, Duration: time.Second, Total: flow.Counters{flow.Retransmits: 1},
		Delta: flow.Counters{flow.Failed: 1, flow.Retransmits: 1},
		State: flow.StateClose, ErrorType: flow.ErrorConnectionRefused,
	}
}

func testSettings() Settings {
	resource := pcommon.NewResource()
	resource.Attributes().PutStr("service.name", "kmesh")
	resource.Attributes().PutStr("service.instance.id", "node-1")
	return Settings{Resource: resource, Version: "1.2.3"}
}

func allMetrics() map[string]bool {
	enabled := map[string]bool{}
	for _, m := range Catalog() {
		enabled[m.Name] = true
	}
	return enabled
}

func allSets() flow.Settings {
	return flow.Settings{
		Scope: flow.ScopeAll, ServiceMetrics: true, WorkloadMetrics: true, ConnectionMetrics: true,
		ConnectionMinDuration: 5 * time.Second, SeriesExpiration: time.Minute, CardinalityLimit: 1 << 20, UnknownAddresses: 1 << 20,
	}
}
