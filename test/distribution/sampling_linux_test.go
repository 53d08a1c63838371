// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package distribution

import (
	"bytes"
	"context"
	le "encoding/binary"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/spans"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

// What goes through the sampler, by how it ended.
const (
	sampledWell   = 5000
	sampledResets = 300 // by the server: the client's end is an error, the server's is none
	sampledFails  = 200 // one end only
)

// traceIDs are those of the spans or records that were kept.
type traceIDs map[pcommon.TraceID]bool

// TestTwoAgentsSampleTheSameConnections runs the example of sampling twice, with what two receivers write of both ends of
// the same connections.
func TestTwoAgentsSampleTheSameConnections(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- the same in every run
	var clients, servers []*flow.Connection
	well, reset, failed := traceIDs{}, traceIDs{}, traceIDs{}
	for i := range sampledWell + sampledResets {
		client, server := flowtest.Sample(), flowtest.Sample()
		client.Direction = flow.Outbound
		client.Trace = flow.NewTrace(random.Uint32(), random.Uint32())
		server.Trace = client.Trace
		if i < sampledWell {
			well[client.Trace.ID] = true
		} else {
			client.Reason, server.Reason = flow.ReasonReset, flow.ReasonAbort
			reset[client.Trace.ID] = true
		}
		clients, servers = append(clients, client), append(servers, server)
	}
	for range sampledFails {
		c := flowtest.FailedSample()
		c.Trace = flow.RandomTrace(random.Uint64())
		failed[c.Trace.ID] = true
		clients = append(clients, c)
	}

	clientTraces, clientLogs := sample(t, "client", clients)
	serverTraces, serverLogs := sample(t, "server", servers)

	// By value: what a sampler of one in ten with the example's seed keeps, whichever end and signal it has.
	expected := traceIDs{}
	for id := range well {
		if kept(id, 22, 10) {
			expected[id] = true
		}
	}
	require.InDelta(t, sampledWell/10, len(expected), 130, "six standard deviations")
	for name, got := range map[string]traceIDs{
		"spans of the clients": clientTraces, "records of the clients": clientLogs,
		"spans of the servers": serverTraces, "records of the servers": serverLogs,
	} {
		assert.Equal(t, expected, within(got, well), name)
	}
	for name, got := range map[string]traceIDs{"spans": clientTraces, "records": clientLogs} {
		assert.Equal(t, failed, within(got, failed), "%s of failed connects: all", name)
		assert.Equal(t, reset, within(got, reset), "%s of ends that were reset: all", name)
	}
	for id := range reset {
		assert.Equal(t, kept(id, 22, 10), serverTraces[id], "the end that reset is no error")
		assert.Equal(t, serverTraces[id], serverLogs[id])
	}
}

// kept is the decision of probabilistic_sampler with a hash_seed.
func kept(id pcommon.TraceID, seed uint32, percent float32) bool {
	const buckets = 0x4000
	hash := fnv.New32a()
	_, _ = hash.Write(le.LittleEndian.AppendUint32(nil, seed))
	_, _ = hash.Write(id[:])
	return hash.Sum32()%buckets < uint32(percent*(buckets/100.0))
}

// within returns the ids that are of all.
func within(ids, all traceIDs) traceIDs {
	both := traceIDs{}
	for id := range ids {
		if all[id] {
			both[id] = true
		}
	}
	return both
}

// sample runs the example with OTLP in place of the receiver, and files in place of the backend; it returns what is kept.
func sample(t *testing.T, name string, connections []*flow.Connection) (traces, logs traceIDs) {
	t.Helper()
	const file = "../../deploy/examples/traces-sampling.yaml"
	folder := t.TempDir()
	c := start(t, newHost(t), file, withArgs("--config", "yaml:"+`
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:4318"}}}}
exporters: {file/traces: {path: "`+folder+`/traces"}, file/logs: {path: "`+folder+`/logs"}}
service:
  pipelines:
    traces/failed: {receivers: [otlp], exporters: [file/traces]}
    traces/rest: {receivers: [otlp], exporters: [file/traces]}
    logs/failed: {receivers: [otlp], exporters: [file/logs]}
    logs/rest: {receivers: [otlp], exporters: [file/logs]}
`))
	c.requireHealth(t, healthURL(t, file), 200)

	resource, scope := pcommon.NewResource(), pcommon.NewInstrumentationScope()
	ofSpans := spans.NewWriter(spans.Settings{Pods: true}, resource, scope, 1000, func(batch ptrace.Traces, _ int) {
		body, err := ptraceotlp.NewExportRequestFromTraces(batch).MarshalProto()
		require.NoError(t, err)
		c.post(t, "http://127.0.0.1:4318/v1/traces", body)
	})
	ofLines := accesslog.NewWriter(accesslog.Settings{Closed: true, Failed: true}, resource, scope, 1000, func(batch plog.Logs, _ int) {
		body, err := plogotlp.NewExportRequestFromLogs(batch).MarshalProto()
		require.NoError(t, err)
		c.post(t, "http://127.0.0.1:4318/v1/logs", body)
	})
	for _, connection := range connections {
		f := flowtest.Name(connection, flowtest.SampleWorld{})
		ofSpans.Add(f, flowtest.Noon)
		ofLines.Add(f, flowtest.Noon)
	}
	ofSpans.Flush(time.Now())
	ofLines.Flush(time.Now())
	c.stop(t)

	traces, logs = traceIDs{}, traceIDs{}
	once := func(ids traceIDs, id pcommon.TraceID) {
		require.False(t, ids[id], "%s: %s came by both ways", name, id)
		ids[id] = true
	}
	for _, line := range lines(t, filepath.Join(folder, "traces")) {
		batch, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		require.NoError(t, err)
		for _, resource := range batch.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					once(traces, span.TraceID())
				}
			}
		}
	}
	for _, line := range lines(t, filepath.Join(folder, "logs")) {
		batch, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
		require.NoError(t, err)
		for _, resource := range batch.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					once(logs, record.TraceID())
				}
			}
		}
	}
	return traces, logs
}

func lines(t *testing.T, file string) [][]byte {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	return bytes.Split(bytes.TrimSpace(content), []byte("\n"))
}

// post sends OTLP to the collector over its own network.
func (c *collector) post(t *testing.T, url string, body []byte) {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (conn net.Conn, err error) {
			c.host.Do(func() { conn, err = net.DialTimeout(network, address, time.Second) })
			return conn, err
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	response, err := client.Post(url, "application/x-protobuf", bytes.NewReader(body))
	require.NoError(t, err)
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", answer)
}
