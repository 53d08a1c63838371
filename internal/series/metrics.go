// SPDX-License-Identifier: Apache-2.0

package series

import "github.com/kmesh-net/otelcol-kmesh/internal/flow"

// Set is one of the sets of metrics.
type Set string

// The sets.
const (
	Service    Set = "service"
	Workload   Set = "workload"
	Connection Set = "connection"
	Istio      Set = "istio"
	Latency    Set = "latency"
)

// metric is the sum of a counter over the flows of a series. To add one, add it to its set here.
type metric struct {
	name, unit  string
	counter     flow.Counter
	description string
}

const (
	unitConnection = "{connection}"
	unitSegment    = "{segment}"
	unitByte       = "By"
)

// The metrics of the sets, by the names that Kmesh's dashboards know: `conntections` is Kmesh's own spelling.
var (
	serviceMetrics = []metric{
		{"kmesh.tcp.connections.opened", unitConnection, flow.Opened, "TCP connections opened, by service."},
		{"kmesh.tcp.connections.closed", unitConnection, flow.Closed, "TCP connections closed, by service."},
		{"kmesh.tcp.received", unitByte, flow.Received, "Payload bytes that the reporter's end received, by service."},
		{"kmesh.tcp.sent", unitByte, flow.Sent, "Payload bytes that the reporter's end sent, by service."},
		{"kmesh.tcp.conntections.failed", unitConnection, flow.Failed, "TCP connects that failed, by service."},
	}
	workloadMetrics = []metric{
		{"kmesh.tcp.workload.connections.opened", unitConnection, flow.Opened, "TCP connections opened, by workload."},
		{"kmesh.tcp.workload.connections.closed", unitConnection, flow.Closed, "TCP connections closed, by workload."},
		{"kmesh.tcp.workload.received", unitByte, flow.Received, "Payload bytes that the reporter's end received, by workload."},
		{"kmesh.tcp.workload.sent", unitByte, flow.Sent, "Payload bytes that the reporter's end sent, by workload."},
		{"kmesh.tcp.workload.conntections.failed", unitConnection, flow.Failed, "TCP connects that failed, by workload."},
		{"kmesh.tcp.retrans", unitSegment, flow.Retransmits, "TCP segments that the reporter's end sent again, by workload."},
		{"kmesh.tcp.packet_loss", unitSegment, flow.Lost, "TCP segments of the reporter's end that were lost, by workload."},
	}
	connectionMetrics = []metric{
		{"kmesh.tcp.connection.sent", unitByte, flow.Sent, "Payload bytes that the reporter's end sent over one connection."},
		{"kmesh.tcp.connection.received", unitByte, flow.Received, "Payload bytes that the reporter's end received over one connection."},
		{"kmesh.tcp.connection.retrans", unitSegment, flow.Retransmits, "TCP segments that the reporter's end sent again over one connection."},
		{"kmesh.tcp.connection.packet_lost", unitSegment, flow.Lost, "TCP segments of the reporter's end that were lost on one connection."},
	}
)

// The metrics of the Istio set. Received and Sent are those of the connection's source and destination for both reporters:
// see istioDelta.
var istioMetrics = []metric{
	{"istio.tcp.connections.opened", "", flow.Opened, "TCP connections opened, as Istio reports them."},
	{"istio.tcp.connections.closed", "", flow.Closed, "TCP connections closed, as Istio reports them."},
	{"istio.tcp.connections.failed", "", flow.Failed, "TCP connects that failed, as Istio reports them."},
	{"istio.tcp.received.bytes", "", flow.Received, "Payload bytes that the client sent (request), as Istio reports them."},
	{"istio.tcp.sent.bytes", "", flow.Sent, "Payload bytes that the server sent (response), as Istio reports them."},
}

// appliesTo returns whether the series has the metric. A series of failed connects has the metric of failures, any other
// series has all others, zeros included. Besides, it has those that counted something, as retransmitted SYNs.
func (m *metric) appliesTo(p *Point) bool {
	return (m.counter == flow.Failed) == p.Failure || p.Values[m.counter] != 0
}

// Metric describes a metric.
type Metric struct {
	Set                     Set
	Name, Unit, Description string
	Kind                    Kind
}

// Kind is that of a metric's points.
type Kind string

// The kinds.
const (
	KindSum       Kind = "sum"       // monotonic
	KindUpDown    Kind = "updown"    // a sum that falls, too
	KindHistogram Kind = "histogram" // exponential
)

// Metrics returns the metrics of all sets, in the order in which they are written.
func Metrics() []Metric {
	var all []Metric
	for _, set := range []struct {
		name    Set
		metrics []metric
	}{{Service, serviceMetrics}, {Workload, workloadMetrics}, {Connection, connectionMetrics}, {Istio, istioMetrics}} {
		for _, m := range set.metrics {
			all = append(all, Metric{set.name, m.name, m.unit, m.description, KindSum})
		}
	}
	for _, m := range latencyMetrics {
		kind := KindHistogram
		if m.histogram == activeConnections {
			kind = KindUpDown
		}
		all = append(all, Metric{Latency, m.name, m.unit, m.description, kind})
	}
	return all
}

// enabled returns the metrics whose names are on.
func enabled(all []metric, on map[string]bool) []metric {
	var some []metric
	for _, m := range all {
		if on[m.name] {
			some = append(some, m)
		}
	}
	return some
}

// enabledLatency is likewise.
func enabledLatency(on map[string]bool) []latencyMetric {
	var some []latencyMetric
	for _, m := range latencyMetrics {
		if on[m.name] {
			some = append(some, m)
		}
	}
	return some
}
