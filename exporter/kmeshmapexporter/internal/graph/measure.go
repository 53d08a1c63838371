// SPDX-License-Identifier: Apache-2.0

package graph

// measure is what a metric counts.
type measure uint8

const (
	sent measure = iota
	received
	opened
	closed
	failed
	retransmitted
	lost
	active
	connectTime
	roundTrip
)

// set is the metrics that share labels.
type set uint8

const (
	serviceSet set = iota
	workloadSet
)

// metric is a metric that the graph uses.
type metric struct {
	measure measure
	set     set
}

// metrics are those of the receiver that the graph uses, by name. The receiver writes the other ones for other consumers.
var metrics = map[string]metric{
	"kmesh.tcp.sent":                {sent, serviceSet},
	"kmesh.tcp.received":            {received, serviceSet},
	"kmesh.tcp.connections.opened":  {opened, serviceSet},
	"kmesh.tcp.connections.closed":  {closed, serviceSet},
	"kmesh.tcp.conntections.failed": {failed, serviceSet},

	"kmesh.tcp.workload.sent":                {sent, workloadSet},
	"kmesh.tcp.workload.received":            {received, workloadSet},
	"kmesh.tcp.workload.connections.opened":  {opened, workloadSet},
	"kmesh.tcp.workload.connections.closed":  {closed, workloadSet},
	"kmesh.tcp.workload.conntections.failed": {failed, workloadSet},
	"kmesh.tcp.retrans":                      {retransmitted, workloadSet},
	"kmesh.tcp.packet_loss":                  {lost, workloadSet},

	"kmesh.tcp.connections.active": {active, serviceSet},
	"kmesh.tcp.connect.duration":   {connectTime, serviceSet},
	"kmesh.tcp.rtt":                {roundTrip, serviceSet},
}

// reporter is the end of a connection that reports it.
type reporter uint8

const (
	bySource reporter = iota
	byDestination
	reporters = 2
)
