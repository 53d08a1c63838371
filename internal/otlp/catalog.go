// SPDX-License-Identifier: Apache-2.0

package otlp

import "github.com/kmesh-net/otelcol-kmesh/internal/flow"

// metric is one metric of a set.
type metric struct {
	name, unit, description string
	// failure says that it belongs to the series of failed connects; every other metric belongs to the rest.
	failure bool
	value   func(*flow.Counters) int64
}

// of says whether the series has the metric: its own ones always, zeros included, and any other that counted
// something, as retransmitted SYNs on a series of failed connects.
func (m *metric) of(p *flow.Point) bool {
	return m.failure == p.Failure || m.value(&p.Values) != 0
}

const (
	unitConnection = "{connection}"
	unitSegment    = "{segment}"
	unitByte       = "By"
)

func opened(c *flow.Counters) int64      { return c[flow.Opened] }
func closed(c *flow.Counters) int64      { return c[flow.Closed] }
func failed(c *flow.Counters) int64      { return c[flow.Failed] }
func sent(c *flow.Counters) int64        { return c[flow.Sent] }
func received(c *flow.Counters) int64    { return c[flow.Received] }
func retransmits(c *flow.Counters) int64 { return c[flow.Retransmits] }
func lost(c *flow.Counters) int64        { return c[flow.Lost] }

// The sets, by the names that Kmesh's dashboards know: `conntections` is Kmesh's own spelling.
var (
	serviceMetrics = []metric{
		{"kmesh.tcp.connections.opened", unitConnection, "TCP connections opened, by service.", false, opened},
		{"kmesh.tcp.connections.closed", unitConnection, "TCP connections closed, by service.", false, closed},
		{"kmesh.tcp.received", unitByte, "Payload bytes that the reporter's end received, by service.", false, received},
		{"kmesh.tcp.sent", unitByte, "Payload bytes that the reporter's end sent, by service.", false, sent},
		{"kmesh.tcp.conntections.failed", unitConnection, "TCP connects that failed, by service.", true, failed},
	}
	workloadMetrics = []metric{
		{"kmesh.tcp.workload.connections.opened", unitConnection, "TCP connections opened, by workload.", false, opened},
		{"kmesh.tcp.workload.connections.closed", unitConnection, "TCP connections closed, by workload.", false, closed},
		{"kmesh.tcp.workload.received", unitByte, "Payload bytes that the reporter's end received, by workload.", false, received},
		{"kmesh.tcp.workload.sent", unitByte, "Payload bytes that the reporter's end sent, by workload.", false, sent},
		{"kmesh.tcp.workload.conntections.failed", unitConnection, "TCP connects that failed, by workload.", true, failed},
		{"kmesh.tcp.retrans", unitSegment, "TCP segments that the reporter's end sent again, by workload.", false, retransmits},
		{"kmesh.tcp.packet_loss", unitSegment, "TCP segments of the reporter's end that were lost, by workload.", false, lost},
	}
	connectionMetrics = []metric{
		{"kmesh.tcp.connection.sent", unitByte, "Payload bytes that the reporter's end sent over one connection.", false, sent},
		{"kmesh.tcp.connection.received", unitByte, "Payload bytes that the reporter's end received over one connection.", false, received},
		{"kmesh.tcp.connection.retrans", unitSegment, "TCP segments that the reporter's end sent again over one connection.", false, retransmits},
		{"kmesh.tcp.connection.packet_lost", unitSegment, "TCP segments of the reporter's end that were lost on one connection.", false, lost},
	}
)

// MetricDescription describes a metric as every point of it is described.
type MetricDescription struct{ Name, Unit, Description string }

// Catalog lists the metrics of all sets, in the order in which they are written.
func Catalog() []MetricDescription {
	var all []MetricDescription
	for _, set := range [][]metric{serviceMetrics, workloadMetrics, connectionMetrics} {
		for _, m := range set {
			all = append(all, MetricDescription{m.name, m.unit, m.description})
		}
	}
	return all
}
