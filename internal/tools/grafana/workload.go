// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// workload shows both directions of one workload. All but its last row needs the service set only.
func workload() *dashboard.DashboardBuilder {
	const out = `{reporter="source", source_workload=~"$workload", source_workload_namespace=~"$namespace"}`
	const in = `{reporter="destination", destination_workload=~"$workload", destination_workload_namespace=~"$namespace"}`
	const byClient = `sum by (source_workload_namespace, source_workload) `
	const client = "{{source_workload}}.{{source_workload_namespace}}"
	const byPod = `sum by (destination_pod_namespace, destination_pod_name) `
	const pod = "{{destination_pod_name}}.{{destination_pod_namespace}}"
	links := []cog.Builder[dashboard.DashboardLink]{toService(), toLog()}

	return board("kmesh-workload", "Kmesh / Workload", "What one workload opens, and what it accepts.",
		choice("namespace", "Namespace", "kmesh_tcp_connections_opened_total", "source_workload_namespace"),
		choice("workload", "Workload", `kmesh_tcp_connections_opened_total{source_workload_namespace=~"$namespace"}`, "source_workload")).
		WithRow(row("Outgoing")).
		WithPanel(graph(panel{
			"Connections opened by service", "TCP connections that the workload opened.", perSecond,
			[]query{{`sum by (destination_service) (rate(kmesh_tcp_connections_opened_total` + out + `[$__rate_interval]))`, "{{destination_service}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Failed connects by service", "Connects that never established a connection.", perSecond,
			[]query{{`sum by (destination_service, response_flags) (rate(kmesh_tcp_conntections_failed_total` + out + `[$__rate_interval]))`, "{{destination_service}} {{response_flags}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Sent by service", "Payload bytes that the workload sent over connections that it opened.", bytesPerSecond,
			[]query{{`sum by (destination_service) (rate(kmesh_tcp_sent_bytes_total` + out + `[$__rate_interval]))`, "{{destination_service}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Received by service", "Payload bytes that the workload received over connections that it opened.", bytesPerSecond,
			[]query{{`sum by (destination_service) (rate(kmesh_tcp_received_bytes_total` + out + `[$__rate_interval]))`, "{{destination_service}}"}}, nil,
		})).
		WithPanel(list(panel{
			"Flows", "Connections that the workload opened in the chosen time, by where they went.", number,
			[]query{{`topk(50, sum by (` + flowLabels + `, destination_workload, connection_security_policy) (increase(kmesh_tcp_connections_opened_total` + out + `[$__range])) > 0)`, ""}}, links,
		})).
		WithRow(row("Incoming")).
		WithPanel(graph(panel{
			"Connections accepted by client", "TCP connections that the workload accepted.", perSecond,
			[]query{{byClient + `(rate(kmesh_tcp_connections_opened_total` + in + `[$__rate_interval]))`, client}}, nil,
		})).
		WithPanel(graph(panel{
			"Received by client", "Payload bytes that the workload received over connections that it accepted.", bytesPerSecond,
			[]query{{byClient + `(rate(kmesh_tcp_received_bytes_total` + in + `[$__rate_interval]))`, client}}, nil,
		})).
		WithRow(row("Pods and losses (workload_metrics.enabled: true)")).
		WithPanel(graph(panel{
			"Connections accepted by pod", "TCP connections that the workload's pods accepted. Empty without the workload set.", perSecond,
			[]query{{byPod + `(rate(kmesh_tcp_workload_connections_opened_total` + in + `[$__rate_interval]))`, pod}}, nil,
		})).
		WithPanel(graph(panel{
			"Sent by pod", "Payload bytes that the workload's pods sent over accepted connections. Empty without the workload set.", bytesPerSecond,
			[]query{{byPod + `(rate(kmesh_tcp_workload_sent_bytes_total` + in + `[$__rate_interval]))`, pod}}, nil,
		})).
		WithPanel(graph(panel{
			"Retransmitted", "Segments that the workload's ends sent again. Empty without the workload set.", perSecond,
			[]query{
				{`sum by (destination_workload) (rate(kmesh_tcp_retrans_total` + out + `[$__rate_interval]))`, "to {{destination_workload}}"},
				{`sum by (source_workload) (rate(kmesh_tcp_retrans_total` + in + `[$__rate_interval]))`, "to {{source_workload}}"},
			}, nil,
		})).
		WithPanel(graph(panel{
			"Lost", "Segments that the workload's ends believe lost. Empty without the workload set.", perSecond,
			[]query{
				{`sum by (destination_workload) (rate(kmesh_tcp_packet_loss_total` + out + `[$__rate_interval]))`, "to {{destination_workload}}"},
				{`sum by (source_workload) (rate(kmesh_tcp_packet_loss_total` + in + `[$__rate_interval]))`, "to {{source_workload}}"},
			}, nil,
		}))
}
