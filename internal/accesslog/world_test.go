// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"net/netip"
	"time"
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

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

// named names the ends of a connection that the contract's sample names.
func named(c *flow.Connection) *flow.Flow {
	f := &flow.Flow{Connection: c, Source: workloadAt(c.Source), Destination: workloadAt(c.Destination), Observed: noon.Add(50 * time.Millisecond)}
	if c.Destination == productpageAddr {
		f.Service = productpageService
	}
	return f
}

func workloadAt(address netip.AddrPort) *identity.Workload {
	switch address.Addr().String() {
	case "10.244.0.17":
		return prometheusPod
	case "10.244.0.13":
		return productpagePod
	}
	return nil
}

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

// openSample is the first report of an open end.
func openSample() *flow.Connection {
	c := sample()
	c.Event, c.State, c.Reason = flow.EventOpen, flow.StateEstablished, flow.ReasonNone
	return c
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

// newWriter returns a Writer of every event.
func newWriter(size int, full func(plog.Logs, int)) *Writer {
	resource := pcommon.NewResource()
	resource.Attributes().PutStr("service.name", "kmesh")
	resource.Attributes().PutStr("service.instance.id", "node-1")
	scope := pcommon.NewInstrumentationScope()
	scope.SetName("github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver")
	scope.SetVersion("1.2.3")
	return NewWriter(Settings{Closed: true, Failed: true, Opened: true, Periodic: true}, resource, scope, size, full)
}
