// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// flowLabels say who talks to whom.
const flowLabels = "source_workload_namespace, source_workload, destination_service"

// overview counts at the end that connects, which knows of a failure and where each connection is counted once.
// Connections from outside have no such end: the service dashboard counts at the other one.
func overview() *dashboard.DashboardBuilder {
	const at = `{reporter="source", source_workload_namespace=~"$namespace"}`
	const failed = `sum(rate(kmesh_tcp_conntections_failed_total` + at + `[$__rate_interval]))`
	const opened = `sum(rate(kmesh_tcp_connections_opened_total` + at + `[$__rate_interval]))`
	const bytes = `(increase(kmesh_tcp_sent_bytes_total` + at + `[$__range]) + increase(kmesh_tcp_received_bytes_total` + at + `[$__range]))`
	links := []cog.Builder[dashboard.DashboardLink]{toService(), toWorkload(), toLog()}

	return board("kmesh-overview", "Kmesh / Overview", "Who talks to whom, who fails, who costs what, and what is new.",
		choice("namespace", "Source namespace", "kmesh_tcp_connections_opened_total", "source_workload_namespace")).
		WithRow(row("Now")).
		WithPanel(value(panel{
			"Connections opened", "TCP connections that workloads of the chosen namespaces opened.", perSecond,
			[]query{{opened, ""}}, nil,
		})).
		WithPanel(value(panel{
			"Connects that fail", "Share of connect(2) calls that never established a connection.", ratio,
			[]query{{`(` + failed + ` or vector(0)) / clamp_min((` + failed + ` or vector(0)) + (` + opened + ` or vector(0)), 1e-9)`, ""}}, nil,
		}, from(0.01, "orange"), from(0.05, "red"))).
		WithPanel(value(panel{
			"Sent", "Payload bytes that the connecting ends sent.", bytesPerSecond,
			[]query{{`sum(rate(kmesh_tcp_sent_bytes_total` + at + `[$__rate_interval]))`, ""}}, nil,
		})).
		WithPanel(value(panel{
			"Received", "Payload bytes that the connecting ends received.", bytesPerSecond,
			[]query{{`sum(rate(kmesh_tcp_received_bytes_total` + at + `[$__rate_interval]))`, ""}}, nil,
		})).
		WithRow(row("Who fails and why")).
		WithPanel(list(panel{
			"Failed connects", "The twenty flows with most failed connects in the chosen time. response_flags is the reason with failure_reasons: true, else CONNECT; the connection log has error.type for each.", number,
			[]query{{`topk(20, sum by (` + flowLabels + `, response_flags) (increase(kmesh_tcp_conntections_failed_total` + at + `[$__range])) > 0)`, ""}}, links,
		})).
		WithPanel(graph(panel{
			"Failed connects by service", "Connects that never established a connection.", perSecond,
			[]query{{`topk(10, sum by (destination_service) (rate(kmesh_tcp_conntections_failed_total` + at + `[$__rate_interval])) > 0)`, "{{destination_service}}"}}, nil,
		}).Span(full)).
		WithRow(row("Who costs what")).
		WithPanel(list(panel{
			"Bytes by flow", "The twenty flows with most payload bytes, sent and received, in the chosen time.", bytes10,
			[]query{{`topk(20, sum by (` + flowLabels + `) ` + bytes + `)`, ""}}, links,
		})).
		WithPanel(graph(panel{
			"Bytes by source namespace", "Payload bytes sent and received by the connecting ends of a namespace.", bytesPerSecond,
			[]query{
				{`sum by (source_workload_namespace) (rate(kmesh_tcp_sent_bytes_total` + at + `[$__rate_interval]))`, "{{source_workload_namespace}} sent"},
				{`sum by (source_workload_namespace) (rate(kmesh_tcp_received_bytes_total` + at + `[$__rate_interval]))`, "{{source_workload_namespace}} received"},
			}, nil,
		}).Span(full)).
		WithRow(row("What is new since yesterday")).
		WithPanel(list(panel{
			"New flows", "Flows of the last hour that did not exist in the 24 hours before it. Value: connections that they opened since.", number,
			[]query{{`sum by (` + flowLabels + `) (last_over_time(kmesh_tcp_connections_opened_total` + at + `[1h])) > 0` +
				` unless sum by (` + flowLabels + `) (last_over_time(kmesh_tcp_connections_opened_total` + at + `[1d] offset 1h)) > 0`, ""}}, links,
		})).
		WithPanel(list(panel{
			"New failures", "Flows whose connects failed in the last hour, and not in the 24 hours before it. Value: failed connects.", number,
			[]query{{`sum by (` + flowLabels + `) (last_over_time(kmesh_tcp_conntections_failed_total` + at + `[1h])) > 0` +
				` unless sum by (` + flowLabels + `) (last_over_time(kmesh_tcp_conntections_failed_total` + at + `[1d] offset 1h)) > 0`, ""}}, links,
		}))
}
