// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// fleet is two agents that send through one gateway to Prometheus, by remote write and by a scrape, and to an OTLP
// backend. Both agents see every connection, so their series differ by the node only, and the total is known for each.
type fleet struct {
	*installed
	t              *testing.T
	client, server *testhost.Host
	nodes          []node
	agents         []*container
	collector      *container // the gateway
	written        *prometheus
	scraped        *prometheus
	backend        *backend
	total          exchanged
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{
		t: t, nodes: []node{thisNode(t), otherNode(t)}, backend: newBackend(t),
		written: startPrometheus(t, ""),
		scraped: startPrometheus(t, `
scrape_configs:
  - job_name: gateway
    scrape_interval: 1s
    honor_labels: true
    static_configs: [{targets: ["`+gatewayAddress+`:9464"]}]
`),
	}
	f.installed = install(t, f.values())
	f.createPod(t, "client", clientAddress)
	f.createPod(t, "server", serverAddress)
	f.client, f.server = f.network.Host("client", clientAddress+"/24"), f.network.Host("server", serverAddress+"/24")
	f.collector = f.gateway(f.t) // it outlives this part of the test
	f.collector.start()
	answers200(t, "http://"+gatewayAddress+":13133/")
	for i := range f.nodes {
		f.agents = append(f.agents, f.newAgent(i))
		f.agents[i].start()
		if !f.admitted(i) {
			t.Log("NOT TESTED: two agents. The kernel has one already, and a test has no other kernel.")
			f.nodes, f.agents = f.nodes[:i], f.agents[:i]
			break
		}
		f.healthy(i)
	}
	return f
}

// admitted waits until an agent runs, or was refused because another one watches the kernel.
func (f *fleet) admitted(i int) bool {
	f.t.Helper()
	refused := false
	require.EventuallyWithT(f.t, func(a *assert.CollectT) {
		select {
		case <-f.agents[i].done:
			content, err := os.ReadFile(f.agents[i].log())
			require.NoError(a, err)
			require.Contains(a, string(content), "another kmesh receiver watches this node already")
			refused = true
		default:
			require.Equal(a, 200, status(f.health(i)))
		}
	}, eventually, tick)
	return !refused
}

func (f *fleet) health(i int) string {
	return fmt.Sprintf("http://127.0.0.1:%d/", f.nodes[i].port(healthPort))
}

func (f *fleet) healthy(i int) {
	f.t.Helper()
	answers200(f.t, f.health(i))
}

// names are those of the nodes.
func (f *fleet) names() map[string]bool {
	all := map[string]bool{}
	for _, n := range f.nodes {
		all[n.name] = true
	}
	return all
}

func (f *fleet) values() string {
	return "agent.receiver.collection_interval=1s,agent.telemetry.scrape=true,gateway.prometheus.remoteWrite=" + f.written.write +
		",gateway.otlp.endpoint=" + f.backend.address + ",gateway.otlp.tls.insecure=true"
}

func (f *fleet) newAgent(i int) *container {
	f.t.Helper()
	return f.agent(f.t, f.daemonSet(f.t), f.nodes[i])
}

func (f *fleet) startAgent(i int) {
	f.t.Helper()
	f.agents[i].start()
	f.healthy(i)
}

// stop asks a container to stop, and waits until it did.
func stop(t *testing.T, c *container) {
	t.Helper()
	c.signal(syscall.SIGTERM)
	<-c.done
	require.True(t, c.cmd.ProcessState.Success(), c.cmd.ProcessState)
	c.kill()
}

func (f *fleet) exchange(up, down int) {
	f.t.Helper()
	exchange(f.t, f.client, f.server, up, down)
	f.total.up += int64(up)
	f.total.down += int64(down)
}

// requireTotals compares what each backend has from each agent with what the applications exchanged.
func (f *fleet) requireTotals(t *testing.T) {
	t.Helper()
	for _, n := range f.nodes {
		f.backend.requireTotals(t, n.name, f.total)
		f.written.requireTotals(t, n.name, f.total)
	}
}

// own returns a metric of an agent's own, added up over its series.
func (f *fleet) own(a require.TestingT, i int, metric string) float64 {
	code, page := fetch(fmt.Sprintf("http://127.0.0.1:%d/metrics", f.nodes[i].port(telemetryPort)))
	require.Equal(a, 200, code)
	total := 0.0
	for _, line := range regexp.MustCompile(`(?m)^`+metric+`\{.*\} (\S+)$`).FindAllStringSubmatch(page, -1) {
		value, err := strconv.ParseFloat(line[1], 64)
		require.NoError(a, err)
		total += value
	}
	return total
}

// queued waits until an agent's queue has taken everything that was exchanged before.
func (f *fleet) queued(i int) {
	f.t.Helper()
	const accepted = "otelcol_receiver_accepted_metric_points_total"
	for range 2 { // the first snapshot may have been taken before the exchange
		before := f.own(f.t, i, accepted)
		require.EventuallyWithT(f.t, func(a *assert.CollectT) {
			require.Greater(a, f.own(a, i, accepted), before)
		}, eventually, tick)
	}
}

// full waits until an agent's queue refuses what it is offered.
func (f *fleet) full(i int) {
	f.t.Helper()
	require.EventuallyWithT(f.t, func(a *assert.CollectT) {
		require.Positive(a, f.own(a, i, "otelcol_exporter_enqueue_failed_metric_points_total"))
	}, eventually, tick)
}

func TestTwoAgentsThroughOneGateway(t *testing.T) {
	f := newFleet(t)
	f.exchange(231, 4000)
	f.requireTotals(t)
	require.Equal(t, f.names(), f.backend.instances())

	t.Run("gateway killed", func(t *testing.T) {
		f.collector.kill()
		f.exchange(1000, 20)
		f.collector.start()
		f.requireTotals(t)
	})

	t.Run("gateway restarted", func(t *testing.T) {
		stop(t, f.collector)
		f.exchange(300, 3)
		f.collector.start()
		f.requireTotals(t)
	})

	// What the queue has taken survives; a full queue takes no more, so later bytes would be lost with the agent.
	t.Run("agent killed with a full queue", func(t *testing.T) {
		stop(t, f.agents[0])
		f.agents[0] = f.newAgent(0)
		edit(t, f.agents[0].configuration, "queue_size: 209715200", "queue_size: 50000")
		f.startAgent(0)
		f.requireTotals(t) // the agent is connected again

		f.collector.kill()
		// Fewer bytes than in the agent's former life: Prometheus recognises a new one by a value that falls.
		f.exchange(70, 700)
		f.queued(0)
		f.full(0)
		f.agents[0].kill()
		f.startAgent(0)
		f.collector.start()
		f.exchange(11, 12)
		f.requireTotals(t)
	})

	t.Run("chart upgraded", func(t *testing.T) {
		before := f.starts(t)
		// As in docs/install.md: the values of the installation stay, those that are new get their defaults.
		out, err := helm("upgrade", release, f.nextChart(t), "--namespace", namespace, "--kubeconfig", f.kubeconfig,
			"--reset-then-reuse-values", "--set", "agent.receiver.workload_metrics.enabled=true")
		require.NoError(t, err, out)
		stop(t, f.collector)
		f.collector = f.gateway(f.t) // it outlives this part of the test
		f.collector.start()
		// What is counted last leaves with the agents that are replaced.
		f.exchange(17, 19)
		for i := range f.agents {
			stop(t, f.agents[i])
			f.agents[i] = f.newAgent(i)
			f.startAgent(i)
		}
		f.exchange(5, 6)
		f.requireTotals(t)
		require.Equal(t, f.names(), f.backend.instances(), "the nodes' names stay")
		for instance, starts := range f.starts(t) {
			require.Equal(t, before[instance]+1, starts, "%s: a new agent is a new start time of the same series", instance)
		}
	})

	t.Run("scraped", func(t *testing.T) {
		// The page of a gateway that starts again lacks what came and was replaced meanwhile, so only what it shows now is
		// compared: one life of each agent, on series that differ by the node.
		for _, n := range f.nodes {
			require.EventuallyWithT(t, func(a *assert.CollectT) {
				found, err := f.scraped.samples(fmt.Sprintf(`kmesh_tcp_sent_bytes_total{source_workload="client",destination_workload="server",reporter="source",instance=%q}`, n.name))
				require.NoError(a, err)
				require.Len(a, found, 1)
				require.InDelta(a, 5, found[0].values[len(found[0].values)-1], 0)
			}, eventually, tick)
		}
	})
}

// starts counts the start times of a series of each agent.
func (f *fleet) starts(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, n := range f.nodes {
		_, starts := f.backend.total(t, "kmesh.tcp.sent", n.name, map[string]string{
			"source_workload": "client", "destination_workload": "server", "reporter": "source",
		})
		all[n.name] = starts
	}
	return all
}

// nextChart is the chart as a later release has it: with another version of itself and of the image, and a value more.
func (f *fleet) nextChart(t *testing.T) string {
	t.Helper()
	next := filepath.Join(t.TempDir(), "otelcol-kmesh")
	run(t, "cp", "-rL", chart, next) // it has links to the dashboards and rules
	path := filepath.Join(next, "Chart.yaml")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var meta struct {
		Version    string
		AppVersion string `yaml:"appVersion"`
	}
	require.NoError(t, yaml.Unmarshal(content, &meta))
	require.NotEmpty(t, meta.AppVersion)
	changed := strings.NewReplacer("version: "+meta.Version, "version: 99.0.0", "appVersion: "+meta.AppVersion, "appVersion: 99.0.0").Replace(string(content))
	require.NotEqual(t, string(content), changed)
	require.NoError(t, os.WriteFile(path, []byte(changed), 0o600))

	path = filepath.Join(next, "values.yaml")
	content, err = os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(content, "\nlater: {enabled: true}\n"...), 0o600))
	require.NoError(t, os.Remove(filepath.Join(next, "values.schema.json")))
	later := `{{ if not .Values.later.enabled }}{{ fail "a value has not its default" }}{{ end }}`
	require.NoError(t, os.WriteFile(filepath.Join(next, "templates", "later.yaml"), []byte(later), 0o600))
	return next
}
