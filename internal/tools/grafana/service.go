// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// noLatency ends the description of a panel that needs the latency set.
const noLatency = "Empty without the latency set."

// quantiles are those of a histogram of the latency set.
func quantiles(metric, at string) (all []query) {
	for _, q := range []struct{ of, name string }{{"0.5", "half"}, {"0.99", "99 %"}} {
		all = append(all, query{`histogram_quantile(` + q.of + `, sum(rate(` + metric + at + `[$__rate_interval])))`, q.name})
	}
	return all
}

// service counts at the end that is connected to: whoever the clients are, with an agent or from outside. Failed
// connects are known at the other end only.
func service() *dashboard.DashboardBuilder {
	const here = `destination_service=~"$service", destination_service_namespace=~"$namespace"`
	const at = `{reporter="destination", ` + here + `}`
	const client = `{reporter="source", ` + here + `}`
	const by = `sum by (source_workload_namespace, source_workload) `
	const name = "{{source_workload}}.{{source_workload_namespace}}"
	log := []cog.Builder[dashboard.DashboardLink]{to("Connection log", "kmesh-connection-log", "&var-service=${service}")}

	return board("kmesh-service", "Kmesh / Service", "One service as its own end counted it; its failed connects as the clients did.",
		choice("namespace", "Service namespace", "kmesh_tcp_connections_opened_total", "destination_service_namespace"),
		choice("service", "Service", `kmesh_tcp_connections_opened_total{destination_service_namespace=~"$namespace"}`, "destination_service")).
		WithRow(row("Service")).
		WithPanel(value(panel{
			"Connections accepted", "TCP connections that the service accepted.", perSecond,
			[]query{{`sum(rate(kmesh_tcp_connections_opened_total` + at + `[$__rate_interval]))`, ""}}, nil,
		})).
		WithPanel(value(panel{
			"Open now", "Connections accepted less connections closed. After an agent's restart the connections that are older are not in it.", number,
			[]query{{`clamp_min(sum(kmesh_tcp_connections_opened_total` + at + `) - sum(kmesh_tcp_connections_closed_total` + at + `), 0)`, ""}}, nil,
		})).
		WithPanel(value(panel{
			"Received", "Payload bytes that the service received: requests.", bytesPerSecond,
			[]query{{`sum(rate(kmesh_tcp_received_bytes_total` + at + `[$__rate_interval]))`, ""}}, nil,
		})).
		WithPanel(value(panel{
			"Sent", "Payload bytes that the service sent: answers.", bytesPerSecond,
			[]query{{`sum(rate(kmesh_tcp_sent_bytes_total` + at + `[$__rate_interval]))`, ""}}, nil,
		})).
		WithRow(row("Clients")).
		WithPanel(graph(panel{
			"Connections by client", "TCP connections that the service accepted, by who opened them.", perSecond,
			[]query{{by + `(rate(kmesh_tcp_connections_opened_total` + at + `[$__rate_interval]))`, name}}, log,
		})).
		WithPanel(graph(panel{
			"Failed connects by client", "Connects to the service that never established a connection, as the clients' nodes saw them.", perSecond,
			[]query{{by + `(rate(kmesh_tcp_conntections_failed_total` + client + `[$__rate_interval]))`, name}}, log,
		})).
		WithPanel(graph(panel{
			"Received by client", "Payload bytes that the service received.", bytesPerSecond,
			[]query{{by + `(rate(kmesh_tcp_received_bytes_total` + at + `[$__rate_interval]))`, name}}, nil,
		})).
		WithPanel(graph(panel{
			"Sent by client", "Payload bytes that the service sent.", bytesPerSecond,
			[]query{{by + `(rate(kmesh_tcp_sent_bytes_total` + at + `[$__rate_interval]))`, name}}, nil,
		})).
		WithRow(row("Backends")).
		WithPanel(graph(panel{
			"Connections by workload", "TCP connections accepted, by the workload behind the service.", perSecond,
			[]query{{`sum by (destination_workload_namespace, destination_workload, destination_version) (rate(kmesh_tcp_connections_opened_total` + at + `[$__rate_interval]))`, "{{destination_workload}}.{{destination_workload_namespace}} {{destination_version}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Connections by node", "TCP connections accepted, by the node that counted them.", perSecond,
			[]query{{`sum by (instance) (rate(kmesh_tcp_connections_opened_total` + at + `[$__rate_interval]))`, "{{instance}}"}}, nil,
		})).
		WithRow(row("Latency (latency_metrics.enabled: true)")).
		WithPanel(exemplars(panel{
			"Connect time", "From the first SYN to the established connection, as the clients' nodes saw it. A dot is a slow connection, and leads to its trace. " +
				noLatency, seconds, quantiles("kmesh_tcp_connect_duration_seconds", client), log,
		})).
		WithPanel(exemplars(panel{
			"Round trip", "Smoothed round-trip time, at the service's end. A dot leads to the connection's trace. " + noLatency, seconds,
			quantiles("kmesh_tcp_rtt_seconds", at), log,
		})).
		WithPanel(exemplars(panel{
			"Lifetime of connections", "From the established connection to its close, at the service's end. A dot leads to the connection's trace. " +
				noLatency, seconds, quantiles("kmesh_tcp_connection_duration_seconds", at), log,
		})).
		WithPanel(graph(panel{
			"Open by client", "Connections open now, those that are older than the agents included. " + noLatency, number,
			[]query{{by + `(kmesh_tcp_connections_active` + at + `)`, name}}, log,
		}))
}
