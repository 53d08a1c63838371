// SPDX-License-Identifier: Apache-2.0

//go:build e2e && traces

package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	tracedConnections = 2000
	refusedConnects   = 30
	examples          = "../../deploy/examples"
)

// TestTraces sends both ends of connections that are translated twice, and lose one packet in a hundred, by two agents
// over two gateways into Jaeger, and as a service graph into Prometheus. All configurations are those of the examples.
func TestTraces(t *testing.T) {
	client, counted := translatedHosts(t)
	p, j := startPrometheus(t), startJaeger(t)
	gateways := [2]string{startGateway(t, 0, p, j), startGateway(t, 1, p, j)}
	sampled := t.TempDir()
	startTracesAgent(t, gateways, sampled)

	jobs := make(chan job)
	go func() {
		defer close(jobs)
		for i := range tracedConnections {
			jobs <- job{address: "10.96.5.6:8000", size: int64(i)}
		}
	}()
	drive(t, client, 16, jobs, func(int64) int64 { return answerSize }, &counted.client)
	require.EqualValues(t, tracedConnections, counted.server.connections.Load())
	for range refusedConnects {
		_, err := dial(client, "10.244.7.11:81")
		require.Error(t, err)
	}

	if !t.Run("Jaeger has every pair", func(t *testing.T) { testPairs(t, j) }) {
		return // an end that is missing there is missing in the rest, too
	}
	t.Run("the service graph has one edge", func(t *testing.T) { testServiceGraph(t, p) })
	t.Run("every agent and signal samples the same connections", func(t *testing.T) { testSampling(t, sampled) })
}

// translatedHosts makes a client whose connections to 10.96.5.6:8000 go to the server at another address, and come from
// an address that the client did not choose.
func translatedHosts(t *testing.T) (*testhost.Host, *tally) {
	t.Helper()
	network, counted := testhost.NewNetwork(t), &tally{}
	client, server := network.Host("client", "10.244.7.10/24"), network.Host("server", "10.244.7.11/24")
	client.Run("ip", "addr", "add", "10.244.7.77/24", "dev", "eth0")
	client.Run("ip", "route", "add", "10.96.0.0/16", "dev", "eth0")
	client.Run("nft", "add table ip nat; add chain ip nat output { type nat hook output priority -100; }; "+
		"add rule ip nat output ip daddr 10.96.5.6 tcp dport 8000 dnat to 10.244.7.11:80; "+
		"add chain ip nat postrouting { type nat hook postrouting priority 100; }; "+
		"add rule ip nat postrouting ip daddr 10.244.7.11 tcp dport 80 snat to 10.244.7.77")
	for _, host := range []*testhost.Host{client, server} {
		host.Run("nft", "add table inet loss; add chain inet loss in { type filter hook input priority 0; }; "+
			"add rule inet loss in tcp flags & rst == 0 numgen random mod 100 == 0 drop")
	}
	serve(t, server, "10.244.7.11:80", func(int64) int64 { return answerSize }, &counted.server)
	return client, counted
}

// startGateway runs the example of a gateway, and gives where it listens.
func startGateway(t *testing.T, number int, p *prometheus, j *jaeger) (address string) {
	t.Helper()
	address = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	startExample(t, fmt.Sprint("gateway-", number), "traces-gateway.yaml", nil,
		"LISTEN="+address, fmt.Sprint("GATEWAY_NAME=gateway-", number), "PROMETHEUS="+p.url, "TRACES="+j.otlp, "FLUSH=1s", "PAIR_WITHIN=20s")
	return address
}

func startTracesAgent(t *testing.T, gateways [2]string, sampled string) {
	t.Helper()
	startExample(t, "agent", "traces-agent.yaml", []string{"--config", filepath.Join(configurations, "traces.yaml")},
		"GATEWAY_0="+gateways[0], "GATEWAY_1="+gateways[1], "E2E_DIR="+sampled,
		"E2E_IDENTITY="+filepath.Join(configurations, "identity.yaml"))
}

// startExample runs the distribution with an example, whose ports are the test's.
func startExample(t *testing.T, name, example string, more []string, env ...string) {
	t.Helper()
	health, telemetry := fmt.Sprintf("127.0.0.1:%d", freePort(t)), freePort(t)
	c := &collector{telemetry: fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetry)}
	c.program = program{
		name: name,
		path: collectorPath,
		args: slices.Concat([]string{"--config", filepath.Join(examples, example)}, more, []string{
			"--config", "yaml:extensions::healthcheckv2::http::endpoint: " + health,
			"--config", fmt.Sprintf("yaml:service::telemetry::metrics::readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %d}}}}]", telemetry),
		}),
		env:   env,
		ready: "http://" + health + "/status",
	}
	c.start(t)
	t.Cleanup(func() { // before the program's own, which stops it
		if t.Failed() {
			t.Logf("--- the own metrics of %s:\n%s", name, c.ownMetrics())
		}
	})
}

func testPairs(t *testing.T, j *jaeger) {
	var pairs []jaegerTrace
	eventually(t, func(a *assert.CollectT) {
		traces, err := j.traces("server", 3*tracedConnections)
		require.NoError(a, err)
		require.Len(a, traces, tracedConnections, "a trace for each connection")
		for _, trace := range traces {
			require.Len(a, trace.Spans, 2, trace.TraceID)
		}
		pairs = traces
	})
	kinds, spans, later := map[string]int{}, map[string]bool{}, 0
	for _, trace := range pairs {
		ends := map[string]jaegerSpan{}
		for _, s := range trace.Spans {
			ends[s.tag("span.kind")] = s
			require.False(t, spans[s.SpanID], "two spans have the id %s", s.SpanID)
			spans[s.SpanID] = true
			kinds[s.tag("span.kind")+" of "+trace.Processes[s.ProcessID].ServiceName]++
		}
		c, s := ends["client"], ends["server"]
		require.Empty(t, c.References, "the client's end has no parent")
		require.Len(t, s.References, 1)
		require.Equal(t, "CHILD_OF", s.References[0].RefType)
		require.Equal(t, c.SpanID, s.References[0].SpanID)
		require.Equal(t, trace.TraceID, s.References[0].TraceID)
		require.Equal(t, "TCP server", c.OperationName)
		require.Equal(t, "TCP server", s.OperationName)
		require.Equal(t, "10.96.5.6", c.tag("server.address"), "what the application asked for")
		require.Equal(t, "10.244.7.77", s.tag("client.address"), "what the server sees")
		require.Equal(t, c.tag("sent_bytes"), s.tag("received_bytes"))
		// Both ends have one clock here.
		require.LessOrEqual(t, c.StartTime, s.StartTime)
		require.LessOrEqual(t, s.StartTime, c.end())
		if s.end() > c.end() {
			later++ // it waits for the acknowledgement of its FIN
		}
	}
	require.Equal(t, map[string]int{"client of client": tracedConnections, "server of server": tracedConnections}, kinds)
	t.Logf("%d traces of two spans, %d with a server's end that closed after the client's", len(pairs), later)
}

func testServiceGraph(t *testing.T, p *prometheus) {
	eventually(t, func(a *assert.CollectT) {
		samples, err := p.query("count by (gateway) (traces_service_graph_request_total)")
		require.NoError(a, err)
		require.Len(a, samples, 2, "both gateways have connections")
		samples, err = p.query(`sum by (client, server, failed) (traces_service_graph_request_total)`)
		require.NoError(a, err)
		require.Equal(a, []string{
			`{client="client",failed="false",server="server"} 2000`,
			`{client="client",failed="true",server="server"} 30`,
		}, texts(samples))
		samples, err = p.query(`sum by (client, server) (traces_service_graph_request_failed_total)`)
		require.NoError(a, err)
		require.Equal(a, []string{`{client="client",server="server"} 30`}, texts(samples))
	})
}

func testSampling(t *testing.T, dir string) {
	files := []string{"client-traces", "server-traces", "client-logs", "server-logs"}
	var kept map[string]bool
	eventually(t, func(a *assert.CollectT) {
		kept = sampledIDs(a, filepath.Join(dir, files[0]))
		for _, file := range files[1:] {
			require.Equal(a, slices.Sorted(maps.Keys(kept)), slices.Sorted(maps.Keys(sampledIDs(a, filepath.Join(dir, file)))), file)
		}
	})
	// 200 are expected; six standard deviations are 81.
	assert.InDelta(t, tracedConnections/10, len(kept), 81)
	t.Logf("%d of %d connections kept, the same ones by both agents in both signals", len(kept), tracedConnections)
}

// sampledIDs returns the ids in a file of traces or logs. A failed connect has one end, so it is left out.
func sampledIDs(t require.TestingT, file string) map[string]bool {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	ids := map[string]bool{}
	keep := func(id pcommon.TraceID, attributes pcommon.Map) {
		if event, _ := attributes.Get("event"); event.Str() == "closed" {
			ids[id.String()] = true
		}
	}
	for line := range bytes.Lines(content) {
		if strings.HasSuffix(file, "traces") {
			batch, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
			require.NoError(t, err)
			for _, resource := range batch.ResourceSpans().All() {
				for _, scope := range resource.ScopeSpans().All() {
					for _, span := range scope.Spans().All() {
						keep(span.TraceID(), span.Attributes())
					}
				}
			}
			continue
		}
		batch, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
		require.NoError(t, err)
		for _, resource := range batch.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					keep(record.TraceID(), record.Attributes())
				}
			}
		}
	}
	return ids
}
