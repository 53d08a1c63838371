// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shared are the labels that the service and the workload set have in common, for connections from sleep to httpbin,
// and what remote write makes of the resource. reporter and response_flags differ.
var shared = map[string]string{
	"job":      "kmesh",
	"instance": "e2e-node",

	"source_workload":           "sleep",
	"source_canonical_service":  "sleep",
	"source_canonical_revision": "latest",
	"source_workload_namespace": "default",
	"source_principal":          "-",
	"source_app":                "sleep",
	"source_version":            "latest",
	"source_cluster":            "Kubernetes",

	"destination_workload":           "httpbin",
	"destination_canonical_service":  "httpbin",
	"destination_canonical_revision": "v1",
	"destination_workload_namespace": "default",
	"destination_principal":          "-",
	"destination_app":                "httpbin",
	"destination_version":            "v1",
	"destination_cluster":            "Kubernetes",

	"request_protocol":           "tcp",
	"connection_security_policy": "mutual_tls",
}

// What each set has beside them.
var (
	serviceSet = map[string]string{
		"destination_service":           "httpbin.default.svc.cluster.local",
		"destination_service_namespace": "default",
		"destination_service_name":      "httpbin",
	}
	workloadSet = map[string]string{
		"destination_pod_address":   "10.244.0.11",
		"destination_pod_namespace": "default",
		"destination_pod_name":      "httpbin-5c5944c58c-v9mlk",
	}
)

const absent = -1 // no series

// testMetrics compares every series of the two sets with what the three connections must have made of it.
func testMetrics(t *testing.T, s *stack, lossy ended) {
	require.GreaterOrEqual(t, lossy.retransmits, int64(2))
	var lost map[string]int64
	eventually(t, func(c *assert.CollectT) {
		samples, err := s.loki.sums(`sum by (direction) (sum_over_time({service_name="kmesh"}` +
			` | src_workload="sleep-7656cf8794-4fqx2" | event="closed" | unwrap packet_loss [1h]))`)
		require.NoError(c, err)
		lost, err = by("direction", samples)
		require.NoError(c, err)
		require.Positive(c, lost["OUTBOUND"])
		require.Contains(c, lost, "INBOUND")
	})
	const sent, received = sampleRequest + lossyRequest, 2 * answerSize
	tests := []struct {
		metric      string
		set         map[string]string
		flags       string
		source      int64 // the value with reporter="source"
		destination int64
	}{
		{"kmesh_tcp_connections_opened_total", serviceSet, "-", 2, 2},
		{"kmesh_tcp_connections_closed_total", serviceSet, "-", 2, 2},
		{"kmesh_tcp_sent_bytes_total", serviceSet, "-", sent, received},
		{"kmesh_tcp_received_bytes_total", serviceSet, "-", received, sent},
		{"kmesh_tcp_conntections_failed_total", serviceSet, "CONNECT", 1, absent},
		{"kmesh_tcp_workload_connections_opened_total", workloadSet, "-", 2, 2},
		{"kmesh_tcp_workload_connections_closed_total", workloadSet, "-", 2, 2},
		{"kmesh_tcp_workload_sent_bytes_total", workloadSet, "-", sent, received},
		{"kmesh_tcp_workload_received_bytes_total", workloadSet, "-", received, sent},
		{"kmesh_tcp_workload_conntections_failed_total", workloadSet, "CONNECT", 1, absent},
		{"kmesh_tcp_retrans_total", workloadSet, "-", lossy.retransmits, 0},
		{"kmesh_tcp_packet_loss_total", workloadSet, "-", lost["OUTBOUND"], lost["INBOUND"]},
	}
	var names []string
	want := map[string][]string{}
	for _, test := range tests {
		names = append(names, test.metric)
		for reporter, value := range map[string]int64{"source": test.source, "destination": test.destination} {
			if value == absent {
				continue
			}
			labels := maps.Clone(shared)
			maps.Copy(labels, test.set)
			labels["__name__"], labels["reporter"], labels["response_flags"] = test.metric, reporter, test.flags
			require.Len(t, labels, 23+len([]string{"__name__", "job", "instance"}))
			want[test.metric] = append(want[test.metric], sample{labels: labels, value: float64(value)}.String())
		}
		slices.Sort(want[test.metric])
	}
	got := map[string][]string{}
	eventually(t, func(c *assert.CollectT) {
		for _, name := range names {
			samples, err := s.prometheus.query(name + `{source_workload="sleep"}`)
			require.NoError(c, err)
			got[name] = texts(samples)
			require.Equal(c, want[name], got[name])
		}
	})
	for _, name := range names {
		for _, text := range got[name] {
			t.Log(text)
		}
	}
	samples, err := s.prometheus.query(`count by (__name__) ({__name__=~"kmesh_.*",source_workload="sleep"})`)
	require.NoError(t, err)
	counts, err := by("__name__", samples)
	require.NoError(t, err)
	require.ElementsMatch(t, names, slices.Collect(maps.Keys(counts)), "the metrics of the two sets, and no others")
}

// texts are the samples in Prometheus' text format, sorted.
func texts(samples []sample) []string {
	lines := make([]string, len(samples))
	for i, s := range samples {
		lines[i] = s.String()
	}
	slices.Sort(lines)
	return lines
}
