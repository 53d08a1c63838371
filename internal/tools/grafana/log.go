// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// connectionLog has the access log in Loki beside what the metrics say of the same connections.
func connectionLog() *dashboard.DashboardBuilder {
	const chosen = `{service_name="kmesh"} | dst_service=~"$service" | src_namespace=~"$namespace"`
	const at = `{reporter="source", destination_service=~"$service", source_workload_namespace=~"$namespace"}`

	return board("kmesh-connection-log", "Kmesh / Connection log", "The access log in Loki, beside the metrics of the same connections.",
		lokiSource(),
		choice("namespace", "Source namespace", "kmesh_tcp_connections_opened_total", "source_workload_namespace"),
		choice("service", "Service", `kmesh_tcp_connections_opened_total{source_workload_namespace=~"$namespace"}`, "destination_service")).
		WithRow(row("Metrics")).
		WithPanel(graph(panel{
			"Connections closed by service", "As the metrics count them at the end that connected.", perSecond,
			[]query{{`sum by (destination_service) (rate(kmesh_tcp_connections_closed_total` + at + `[$__rate_interval]))`, "{{destination_service}}"}}, nil,
		})).
		WithPanel(logGraph(panel{
			"Lines by event and reason", "Records of the access log, both ends: why connections closed, and why connects failed.", perSecond,
			[]query{{`sum by (event, close_reason, error_type) (rate(` + chosen + ` [$__auto]))`, "{{event}} {{close_reason}} {{error_type}}"}}, nil,
		})).
		WithRow(row("Failures")).
		WithPanel(counted(panel{
			"Failed connects by reason", "The twenty flows with most failed connects in the chosen time, by the reason that the kernel gave.", number,
			[]query{{`topk(20, sum by (src_namespace, src_workload, dst_service, error_type) (count_over_time(` + chosen + ` | event="failed" [$__range])))`, ""}}, nil,
		})).
		WithPanel(counted(panel{
			"Connections that were reset or timed out", "The twenty flows with most of them in the chosen time, at either end.", number,
			[]query{{`topk(20, sum by (src_namespace, src_workload, dst_service, dst_workload, close_reason) (count_over_time(` + chosen + ` | close_reason=~"reset|timeout|abort" [$__range])))`, ""}}, nil,
		})).
		WithRow(row("Lines")).
		WithPanel(lines(panel{
			title: "Connections", description: "One line for each end of a connection at its close, and for each failed connect.",
			queries: []query{{chosen, ""}},
		})).
		WithPanel(lines(panel{
			title: "Connections that lasted longer than a minute", description: "By the attribute duration, which Loki compares as a duration.",
			queries: []query{{chosen + ` | duration > 1m`, ""}},
		}))
}
