// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/metadata"
	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/metadatatest"
)

func TestConfig(t *testing.T) {
	for name, c := range map[string]struct {
		config map[string]any
		err    string
	}{
		"default":      {nil, ""},
		"contract":     {map[string]any{"endpoint": "127.0.0.1:9465", "window": "5m", "max_nodes": 2000}, ""},
		"server":       {map[string]any{"tls": map[string]any{"cert_file": "a", "key_file": "b"}, "auth": map[string]any{"authenticator": "basicauth"}, "cors": map[string]any{"allowed_origins": []any{"https://example.org"}}}, ""},
		"no endpoint":  {map[string]any{"endpoint": ""}, "endpoint is empty"},
		"short window": {map[string]any{"window": "1s"}, "window is 1s: it must be 1m0s to 1h0m0s"},
		"no nodes":     {map[string]any{"max_nodes": 0}, "max_nodes is 0"},
		"no viewers":   {map[string]any{"max_viewers": 0}, "max_viewers is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			config := createDefaultConfig().(*Config)
			require.NoError(t, confmap.NewFromStringMap(c.config).Unmarshal(config))
			err := config.Validate()
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.err)
		})
	}
	assert.Equal(t, "127.0.0.1:9465", createDefaultConfig().(*Config).NetAddr.Endpoint)
}

// started is a running exporter of both signals.
type started struct {
	metrics exporter.Metrics
	logs    exporter.Logs
	url     string
	stop    func() error
}

func start(t *testing.T, tel *componenttest.Telemetry) *started {
	t.Helper()
	config := createDefaultConfig().(*Config)
	config.NetAddr.Endpoint = "127.0.0.1:0"
	config.WriteTimeout = 100 * time.Millisecond // of an answer; a stream lives on
	all := newInstances()
	factory := exporter.NewFactory(metadata.Type, createDefaultConfig,
		exporter.WithMetrics(all.createMetrics, metadata.MetricsStability), exporter.WithLogs(all.createLogs, metadata.LogsStability))
	settings := exportertest.NewNopSettings(metadata.Type)
	settings.TelemetrySettings = tel.NewTelemetrySettings()
	m, err := factory.CreateMetrics(t.Context(), settings, config)
	require.NoError(t, err)
	l, err := factory.CreateLogs(t.Context(), settings, config)
	require.NoError(t, err)
	i := all.all[config]
	require.NotNil(t, i)
	for _, c := range []component.Component{m, l} {
		require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
	}
	s := &started{metrics: m, logs: l, url: "http://" + i.server.address.String()}
	s.stop = func() error {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := l.Shutdown(ctx); err != nil {
			return err
		}
		return m.Shutdown(ctx)
	}
	return s
}

func TestOneMapOfBothSignals(t *testing.T) {
	tel := componenttest.NewTelemetry()
	s := start(t, tel)
	require.NoError(t, s.metrics.ConsumeMetrics(t.Context(), flow()))
	require.NoError(t, s.logs.ConsumeLogs(t.Context(), record()))

	var graph struct {
		Nodes []struct{ Name string }
		Links []struct {
			From, To int
			Kind     string
		}
	}
	getJSON(t, s.url+"/api/graph", &graph)
	require.Len(t, graph.Nodes, 2)
	require.Len(t, graph.Links, 1)
	var detail struct{ Records []struct{ Event string } }
	getJSON(t, s.url+"/api/node?id=1", &detail)
	require.Len(t, detail.Records, 1)
	assert.Equal(t, "closed", detail.Records[0].Event)

	metadatatest.AssertEqualKmeshMapPoints(t, tel, one(1), ignore...)
	metadatatest.AssertEqualKmeshMapRecords(t, tel, one(1), ignore...)
	metadatatest.AssertEqualKmeshMapRecordsUnmatched(t, tel, one(0), ignore...)
	metadatatest.AssertEqualKmeshMapPointsRefused(t, tel, one(0), ignore...)
	metadatatest.AssertEqualKmeshMapSeries(t, tel, one(1), ignore...)
	metadatatest.AssertEqualKmeshMapEdges(t, tel, one(1), ignore...)
	metadatatest.AssertEqualKmeshMapViewers(t, tel, one(0), ignore...)
	require.NoError(t, s.stop())
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestAStreamOutlivesTheWriteTimeoutAndEndsAtShutdown(t *testing.T) {
	tel := componenttest.NewTelemetry()
	s := start(t, tel)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/events", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	events := 0
	for events < 3 && lines.Scan() { // the second and the third come a second apart
		if lines.Text() == "event: update" || lines.Text() == "event: snapshot" {
			events++
		}
	}
	require.Equal(t, 3, events)
	metadatatest.AssertEqualKmeshMapViewers(t, tel, one(1), ignore...)
	require.NoError(t, s.stop())
	_, err = io.ReadAll(response.Body)
	require.NoError(t, err, "the stream ends as it should")
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestATakenEndpointSaysWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	config := createDefaultConfig().(*Config)
	config.NetAddr.Endpoint = taken.Addr().String()
	factory := NewFactory()
	m, err := factory.CreateMetrics(t.Context(), exportertest.NewNopSettings(metadata.Type), config)
	require.NoError(t, err)
	require.ErrorContains(t, m.Start(t.Context(), componenttest.NewNopHost()), "set endpoint to a free address")
	require.NoError(t, m.Shutdown(t.Context()))
}

func getJSON(t *testing.T, url string, to any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, 200, response.StatusCode)
	require.NoError(t, json.NewDecoder(response.Body).Decode(to))
}

func flow() pmetric.Metrics {
	batch := pmetric.NewMetrics()
	m := batch.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("kmesh.tcp.sent")
	m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	p := m.Sum().DataPoints().AppendEmpty()
	for key, value := range map[string]string{
		"reporter": "source", "source_workload": "curl", "source_workload_namespace": "host",
		"destination_workload": "nginx", "destination_workload_namespace": "host", "destination_service": "127.0.0.1",
		"destination_service_name": "-", "destination_service_namespace": "-",
	} {
		p.Attributes().PutStr(key, value)
	}
	p.SetStartTimestamp(pcommon.NewTimestampFromTime(time.Now().Add(-time.Second)))
	p.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	p.SetIntValue(500)
	return batch
}

func record() plog.Logs {
	batch := plog.NewLogs()
	r := batch.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	for key, value := range map[string]string{
		"src.addr": "127.0.0.1:4000", "src.workload": "curl-17", "src.namespace": "host", "dst.addr": "127.0.0.1:80",
		"dst.service": "127.0.0.1", "dst.workload": "nginx-3", "dst.namespace": "host", "direction": "OUTBOUND", "event": "closed",
	} {
		r.Attributes().PutStr(key, value)
	}
	return batch
}
