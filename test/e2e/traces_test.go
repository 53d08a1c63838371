// SPDX-License-Identifier: Apache-2.0

//go:build e2e && traces

package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	tracedConnections = 2000
	resetConnections  = 20 // by the server
	refusedConnects   = 30
	tracedPairs       = tracedConnections + resetConnections
	tracedEnds        = 2*tracedPairs + refusedConnects
	examples          = "../../deploy/examples"
)

// TestTraces sends both ends of connections that are translated twice, and lose one packet in a hundred, by two agents
// over two gateways into Jaeger, and as a service graph into Prometheus. All configurations are those of the examples.
func TestTraces(t *testing.T) {
	client, counted := translatedHosts(t)
	p, j, l := startPrometheusWith(t, "", "--enable-feature=exemplar-storage,native-histograms"), startJaeger(t), startLoki(t)
	gateways := [2]string{startGateway(t, 0, p, j), startGateway(t, 1, p, j)}
	sampled := t.TempDir()
	agent := startTracesAgent(t, gateways, p, l, sampled)

	jobs := make(chan job)
	go func() {
		defer close(jobs)
		for i := range tracedConnections {
			jobs <- job{address: "10.96.5.6:8000", size: int64(i)}
		}
	}()
	drive(t, client, 16, jobs, func(int64) int64 { return answerSize }, &counted.client)
	require.EqualValues(t, tracedConnections, counted.server.connections.Load())
	for range resetConnections {
		conn, err := dial(client, "10.244.7.11:82")
		require.NoError(t, err)
		_, err = conn.Write([]byte{1})
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.NoError(t, conn.Close())
	}
	for range refusedConnects {
		_, err := dial(client, "10.244.7.11:81")
		require.Error(t, err)
	}

	var hidden int
	if !t.Run("Jaeger has every pair", func(t *testing.T) { hidden = testPairs(t, j, agent) }) {
		return // an end that is missing there is missing in the rest, too
	}
	t.Run("the service graph has one edge", func(t *testing.T) { testServiceGraph(t, p, hidden) })
	t.Run("every agent and signal samples the same connections", func(t *testing.T) { testSampling(t, sampled, hidden) })
	t.Run("an exemplar leads to its log line and its span", func(t *testing.T) { testExemplars(t, p, l, j) })
}

// missed returns how many ends changed state while no program ran, by kind: see docs/exactness.md. What is vanished is in no
// signal, because the kernel hid it from the programs. Where it hides nothing, nothing may be missing.
func (c *collector) missed(t require.TestingT, kind string) (n int) {
	for line := range strings.Lines(c.ownMetrics()) {
		if strings.HasPrefix(line, "otelcol_kmesh_connections_missed") && strings.Contains(line, `kind="`+kind+`"`) {
			fields := strings.Fields(line)
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			require.NoError(t, err)
			n += int(value)
		}
	}
	return n
}

// requireAll compares a count with what the applications made, of which the kernel hid some ends.
func requireAll(t require.TestingT, want, got, hidden int, what string) {
	require.LessOrEqual(t, got, want, what)
	require.GreaterOrEqual(t, got, want-hidden, "%s, %d ends hidden by the kernel", what, hidden)
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
	reset(t, server, "10.244.7.11:82")
	return client, counted
}

// reset listens in the host until the test ends, reads a byte of each connection, and resets it.
func reset(t *testing.T, host *testhost.Host, address string) {
	t.Helper()
	listener := listen(t, host, address)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed below
			}
			_, err = conn.Read(make([]byte, 1))
			assert.NoError(t, err)
			assert.NoError(t, conn.(*net.TCPConn).SetLinger(0))
			assert.NoError(t, conn.Close())
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
}

// startGateway runs the example of a gateway, and gives where it listens.
func startGateway(t *testing.T, number int, p *prometheus, j *jaeger) (address string) {
	t.Helper()
	address = fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t))
	startExample(t, fmt.Sprint("gateway-", number), "traces-gateway.yaml", nil,
		"LISTEN="+address, fmt.Sprint("GATEWAY_NAME=gateway-", number), "PROMETHEUS="+p.url, "TRACES="+j.otlp, "FLUSH=1s", "PAIR_WITHIN=20s")
	return address
}

func startTracesAgent(t *testing.T, gateways [2]string, p *prometheus, l *loki, sampled string) *collector {
	t.Helper()
	return startExample(t, "agent", "traces-agent.yaml", []string{"--config", filepath.Join(configurations, "traces.yaml")},
		"GATEWAY_0="+gateways[0], "GATEWAY_1="+gateways[1], "E2E_DIR="+sampled, "E2E_PROMETHEUS="+p.url, "E2E_LOKI="+l.url,
		"E2E_IDENTITY="+filepath.Join(configurations, "identity.yaml"))
}

// startExample runs the distribution with an example, whose ports are the test's.
func startExample(t *testing.T, name, example string, more []string, env ...string) *collector {
	t.Helper()
	health, telemetry := fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t)), testhost.FreePort(t)
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
	return c
}

// tracesOf returns all traces with an end of the test's hosts, by their ids.
func tracesOf(j *jaeger) (map[string]jaegerTrace, error) {
	all := map[string]jaegerTrace{}
	for _, service := range []string{"client", "server"} {
		found, err := j.traces(service, 3*tracedEnds)
		if err != nil {
			return nil, err
		}
		for _, trace := range found {
			all[trace.TraceID] = trace
		}
	}
	return all, nil
}

// testPairs returns how many ends are missing because the kernel hid them.
func testPairs(t *testing.T, j *jaeger, agent *collector) (hidden int) {
	var traces map[string]jaegerTrace
	eventually(t, func(a *assert.CollectT) {
		var err error
		traces, err = tracesOf(j)
		require.NoError(a, err)
		spans := 0
		for _, trace := range traces {
			spans += len(trace.Spans)
		}
		// Each end that is not there is one that the kernel hid.
		hidden = agent.missed(a, "vanished")
		require.Equal(a, tracedEnds, spans+hidden, "%d spans in %d traces, %d ends hidden by the kernel", spans, len(traces), hidden)
	})
	noticed := agent.missed(t, "late") // these begin when they were noticed
	kinds, spans, pairs, alone, refused, later, early := map[string]int{}, map[string]bool{}, 0, 0, 0, 0, 0
	for _, trace := range traces {
		ends := map[string]jaegerSpan{}
		for _, s := range trace.Spans {
			ends[s.tag("span.kind")] = s
			require.False(t, spans[s.SpanID], "two spans have the id %s", s.SpanID)
			spans[s.SpanID] = true
			kinds[s.tag("span.kind")+" of "+trace.Processes[s.ProcessID].ServiceName]++
			require.Equal(t, "TCP server", s.OperationName)
		}
		c, s := ends["client"], ends["server"]
		if len(trace.Spans) == 1 {
			if c.tag("event") == "failed" {
				require.Equal(t, "connection_refused", c.tag("error.type"))
				require.Equal(t, "true", c.tag("error"))
				refused++
			} else {
				alone++
			}
			continue
		}
		pairs++
		require.Len(t, trace.Spans, 2, trace.TraceID)
		require.Empty(t, c.References, "the client's end has no parent")
		require.Len(t, s.References, 1)
		require.Equal(t, "CHILD_OF", s.References[0].RefType)
		require.Equal(t, c.SpanID, s.References[0].SpanID)
		require.Equal(t, trace.TraceID, s.References[0].TraceID)
		if c.tag("server.port") == "8000" {
			require.Equal(t, c.tag("sent_bytes"), s.tag("received_bytes"))
			require.Equal(t, "10.96.5.6", c.tag("server.address"), "what the application asked for")
			require.Equal(t, "10.244.7.77", s.tag("client.address"), "what the server sees")
		} else {
			require.Equal(t, "reset", c.tag("error.type"))
			require.Empty(t, s.tag("error.type"), "this end did it")
			// The RST may come in place of the acknowledgement of the byte.
			require.Contains(t, []string{"0", "1"}, c.tag("sent_bytes"))
			require.Equal(t, "1", s.tag("received_bytes"))
		}
		// Both ends have one clock here.
		if s.StartTime < c.StartTime || s.StartTime > c.end() {
			early++
		}
		if s.end() > c.end() {
			later++ // it waits for the acknowledgement of its FIN
		}
		if pairs == 1 {
			t.Logf("one of them:\n%s", trace)
		}
	}
	require.LessOrEqual(t, alone, hidden)
	require.LessOrEqual(t, early, noticed, "servers' ends that do not begin within the clients'")
	requireAll(t, refusedConnects, refused, hidden, "refused connects")
	requireAll(t, tracedPairs+refusedConnects, kinds["client of client"], hidden, "clients' ends")
	requireAll(t, tracedPairs, kinds["server of server"], hidden, "servers' ends")
	require.Len(t, kinds, 2, "%v", kinds)
	t.Logf("%d traces of two spans, %d of a refused connect, %d ends hidden by the kernel; %d servers' ends closed after the client's",
		pairs, refused, hidden, later)
	return hidden
}

func testServiceGraph(t *testing.T, p *prometheus, hidden int) {
	eventually(t, func(a *assert.CollectT) {
		samples, err := p.query("count by (gateway) (traces_service_graph_request_total)")
		require.NoError(a, err)
		require.Len(a, samples, 2, "both gateways have connections")
		samples, err = p.query(`sum by (client, server, failed, connection_type) (traces_service_graph_request_total)`)
		require.NoError(a, err)
		want := map[string]int{
			`{client="client",failed="false",server="server"}`:                               tracedConnections,
			`{client="client",failed="true",server="server"}`:                                resetConnections,
			`{client="client",connection_type="virtual_node",failed="true",server="server"}`: refusedConnects,
		}
		if hidden == 0 {
			require.Len(a, samples, len(want), "no other edge: %v", samples)
		}
		got := map[string]int{}
		for _, s := range samples {
			got[strings.TrimSuffix(s.String(), " "+strconv.Itoa(int(s.value)))] = int(s.value)
		}
		for labels, n := range want {
			requireAll(a, n, got[labels], hidden, labels)
		}
		samples, err = p.query(`sum by (client, server) (traces_service_graph_request_failed_total{server="server"})`)
		require.NoError(a, err)
		require.Len(a, samples, 1)
		requireAll(a, resetConnections+refusedConnects, int(samples[0].value), hidden, "failed")
	})
}
