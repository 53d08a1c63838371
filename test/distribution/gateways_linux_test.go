// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package distribution

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

// TestEachNodeStaysWithOneGateway sends what 20 nodes report through the example of a tier, to two gateways in the same process.
func TestEachNodeStaysWithOneGateway(t *testing.T) {
	const file, nodes, rounds = "../../deploy/examples/gateways-agent.yaml", 20, 3
	folder := t.TempDir()
	c := start(t, newHost(t), file, withArgs("--config", "yaml:"+`
receivers:
  otlp/nodes: {protocols: {http: {endpoint: "127.0.0.1:4318"}}}
  otlp/0: {protocols: {grpc: {endpoint: "127.0.0.1:4317"}}}
  otlp/1: {protocols: {grpc: {endpoint: "127.0.0.1:4319"}}}
exporters: {file/0: {path: "`+folder+`/0"}, file/1: {path: "`+folder+`/1"}, file/logs0: {path: "`+folder+`/logs0"}, file/logs1: {path: "`+folder+`/logs1"}}
service:
  pipelines:
    metrics: {receivers: [otlp/nodes]}
    logs: {receivers: [otlp/nodes]}
    metrics/0: {receivers: [otlp/0], exporters: [file/0]}
    metrics/1: {receivers: [otlp/1], exporters: [file/1]}
    logs/0: {receivers: [otlp/0], exporters: [file/logs0]}
    logs/1: {receivers: [otlp/1], exporters: [file/logs1]}
`))
	c.requireHealth(t, healthURL(t, file), 200)
	for round := range rounds {
		for node := range nodes {
			metrics, logs := pmetric.NewMetrics(), plog.NewLogs()
			resource := metrics.ResourceMetrics().AppendEmpty()
			identify(resource.Resource(), node)
			metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
			metric.SetName("kmesh.tcp.sent")
			sum := metric.SetEmptySum()
			sum.SetIsMonotonic(true)
			sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			sum.DataPoints().AppendEmpty().SetIntValue(int64(round))
			body, err := pmetricotlp.NewExportRequestFromMetrics(metrics).MarshalProto()
			require.NoError(t, err)
			c.post(t, "http://127.0.0.1:4318/v1/metrics", body)

			records := logs.ResourceLogs().AppendEmpty()
			identify(records.Resource(), node)
			records.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
			body, err = plogotlp.NewExportRequestFromLogs(logs).MarshalProto()
			require.NoError(t, err)
			c.post(t, "http://127.0.0.1:4318/v1/logs", body)
		}
	}
	// The last of them may still be on their way; whoever stops a gateway first loses it.
	arrived := func(files ...string) (n int) {
		for _, name := range files {
			content, err := os.ReadFile(filepath.Join(folder, name))
			require.NoError(t, err)
			n += bytes.Count(content, []byte(`"agent-`))
		}
		return n
	}
	require.Eventually(t, func() bool {
		return arrived("0", "1") == nodes*rounds && arrived("logs0", "logs1") == nodes*rounds
	}, 30*time.Second, 50*time.Millisecond)
	c.stop(t)

	gateway, values := map[string]string{}, map[string][]int64{}
	stays := func(node, at string) {
		if had, known := gateway[node]; known {
			require.Equal(t, had, at, "the gateway of %s", node)
		}
		gateway[node] = at
	}
	records := 0
	for _, at := range []string{"0", "1"} {
		before := len(gateway)
		for _, line := range lines(t, filepath.Join(folder, at)) {
			batch, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
			require.NoError(t, err)
			for _, resource := range batch.ResourceMetrics().All() {
				if node := instance(resource.Resource()); node != "" {
					stays(node, at)
					point := resource.ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints().At(0)
					values[node] = append(values[node], point.IntValue())
				}
			}
		}
		require.Greater(t, len(gateway), before, "gateway %s has no node", at)
		for _, line := range lines(t, filepath.Join(folder, "logs"+at)) {
			batch, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
			require.NoError(t, err)
			for _, resource := range batch.ResourceLogs().All() {
				if node := instance(resource.Resource()); node != "" {
					stays(node, at)
					records++
				}
			}
		}
	}
	require.Len(t, gateway, nodes)
	for node, got := range values {
		require.Equal(t, []int64{0, 1, 2}, got, "%s: every point, in order", node)
	}
	require.Equal(t, nodes*rounds, records)
}

func identify(resource pcommon.Resource, node int) {
	resource.Attributes().PutStr("service.name", "kmesh")
	resource.Attributes().PutStr("service.instance.id", fmt.Sprintf("agent-%d", node))
}

// instance is the node of a resource; empty: of the receiver that runs beside the test.
func instance(resource pcommon.Resource) string {
	id, _ := resource.Attributes().Get("service.instance.id")
	if !strings.HasPrefix(id.AsString(), "agent-") {
		return ""
	}
	return id.AsString()
}
