// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// agents is about the agents themselves: whether anything is missing, and what they use.
func agents() *dashboard.DashboardBuilder {
	const at = `{instance=~"$node"}`
	const by = `sum by (instance) `
	increases := func(metric, label string) []query {
		return []query{{`sum by (instance, ` + label + `) (increase(` + metric + at + `[$__rate_interval])) > 0`, "{{instance}} {{" + label + "}}"}}
	}

	return board("kmesh-agents", "Kmesh / Agents", "The agents' own metrics: what is lost, what is unknown, what they use.",
		choice("node", "Node", "otelcol_kmesh_series", "instance")).
		WithRow(row("State")).
		WithPanel(value(panel{
			"Agents", "Agents that report.", number,
			[]query{{`count(count by (instance) (otelcol_kmesh_series` + at + `))`, ""}}, nil,
		})).
		WithPanel(value(panel{
			"Out of sync", "Agents whose source of identities is not in sync: they name connections by what they knew before.", number,
			[]query{{`count(min by (instance) (otelcol_kmesh_identity_in_sync` + at + `) == 0) or vector(0)`, ""}}, nil,
		}, from(1, "red"))).
		WithPanel(value(panel{
			"Totals lost", "Events and bytes in the chosen time that no metric will ever have.", number,
			[]query{{`sum(increase(otelcol_kmesh_totals_lost_total` + at + `[$__range])) or vector(0)`, ""}}, nil,
		}, from(1, "red"))).
		WithPanel(value(panel{
			"Audit difference", "Connections that the kernel counted, less those that were exported, excluded or lost. What is on its way is in it.", number,
			[]query{{`sum(otelcol_kmesh_connections_kernel_total` + at + `) - sum(otelcol_kmesh_connections_exported_total` + at + `)` +
				` - sum(otelcol_kmesh_connections_excluded_total` + at + `) - (sum(otelcol_kmesh_totals_lost_total{kind=~"opened|closed|failed", instance=~"$node"}) or vector(0))`, ""}}, nil,
		})).
		WithRow(row("What is lost")).
		WithPanel(graph(panel{
			"Records lost", "Records of the access log that were lost, by reason. Their totals are in the metrics all the same.", number,
			increases("otelcol_kmesh_records_lost_total", "reason"), nil,
		})).
		WithPanel(graph(panel{
			"Flows without a series of their own", "Flows that went to the overflow series because a set was full.", number,
			increases("otelcol_kmesh_series_refused_total", "set"), nil,
		})).
		WithPanel(graph(panel{
			"Connections without room", "Connection ends that found no room in the kernel's map.", number,
			[]query{{by + `(increase(otelcol_kmesh_connections_untracked_total` + at + `[$__rate_interval])) > 0`, "{{instance}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Exporter queue", "How full the queue is in which requests wait for the gateway.", ratio,
			[]query{{`max by (instance) (otelcol_exporter_queue_size` + at + ` / otelcol_exporter_queue_capacity` + at + `)`, "{{instance}}"}}, nil,
		})).
		WithRow(row("Names")).
		WithPanel(graph(panel{
			"Lookups that ended unknown", "Share of the ends that no workload is known for, by side.", ratio,
			[]query{{`sum by (side) (rate(otelcol_kmesh_lookups_unknown_total` + at + `[$__rate_interval])) / on () group_left () sum(rate(otelcol_kmesh_records_read_total` + at + `[$__rate_interval]))`, "{{side}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Identities", "Workloads and services that the agents know.", number,
			[]query{{`sum by (instance, kind) (otelcol_kmesh_identities` + at + `)`, "{{instance}} {{kind}}"}}, nil,
		})).
		WithRow(row("Load")).
		WithPanel(graph(panel{
			"Records read", "Records from the kernel, one for each end that opens or closes.", perSecond,
			[]query{{by + `(rate(otelcol_kmesh_records_read_total` + at + `[$__rate_interval]))`, "{{instance}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Series", "Series that the agents hold, by set. Past the limit new flows go to the overflow series.", number,
			[]query{{`sum by (instance, set) (otelcol_kmesh_series` + at + `)`, "{{instance}} {{set}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Values of labels", "The labels with most values, by set: what makes the series many. attributes leaves labels out.", number,
			[]query{{`topk(10, max by (set, label) (otelcol_kmesh_series_label_values` + at + `))`, "{{set}} {{label}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Connections tracked", "Open connection ends.", number,
			[]query{{by + `(otelcol_kmesh_connections_tracked` + at + `)`, "{{instance}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"CPU", "Processor time of the agents. The eBPF programs run on the time of the applications.", seconds,
			[]query{{by + `(rate(otelcol_process_cpu_seconds_total` + at + `[$__rate_interval]))`, "{{instance}}"}}, nil,
		})).
		WithPanel(graph(panel{
			"Memory", "Resident memory of the agents, and memory of their eBPF maps, which the container pays for too.", bytes10,
			[]query{
				{by + `(otelcol_process_memory_rss_bytes` + at + `)`, "{{instance}} resident"},
				{by + `(otelcol_kmesh_bpf_map_memory_bytes` + at + `)`, "{{instance}} maps"},
			}, nil,
		})).
		WithPanel(graph(panel{
			"Uptime", "Since the agent started.", seconds,
			[]query{{by + `(otelcol_process_uptime_seconds_total` + at + `)`, "{{instance}}"}}, nil,
		}))
}
