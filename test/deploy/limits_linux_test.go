// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The load that the chart's memory limit is for.
const (
	nodePods    = 110 // of a node, by the kubelet's default
	peers       = 228 // pods on other nodes: 110 × 228 × 2 ends is just above the limit of series
	seriesLimit = 50_000
	connectRate = 10_000 // per second
	limitsShort = 30 * time.Second
	loadPort    = "9000"
	firstPeer   = "10.244.12.1"
	firstClient = "10.244.13.1"
	loadNetwork = "/16"
)

// account is what the kernel accounts to a container.
type account struct {
	limit, peak int64
	killed      int64 // processes, for lack of memory
}

// memory reads the accounts of the container's cgroup, of either version.
func (c *container) memory() (m account, err error) {
	read := func(path string, to *int64) {
		content, e := os.ReadFile(path)
		if e == nil {
			*to, e = strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
		}
		if e != nil && err == nil {
			err = e
		}
	}
	folder, events := filepath.Join("/sys/fs/cgroup/memory", c.name), "memory.oom_control"
	if _, e := os.Stat(folder); e == nil {
		read(filepath.Join(folder, "memory.limit_in_bytes"), &m.limit)
		read(filepath.Join(folder, "memory.max_usage_in_bytes"), &m.peak)
	} else {
		folder, events = filepath.Join("/sys/fs/cgroup", c.name), "memory.events"
		read(filepath.Join(folder, "memory.max"), &m.limit)
		read(filepath.Join(folder, "memory.peak"), &m.peak)
	}
	content, e := os.ReadFile(filepath.Join(folder, events))
	if e != nil {
		return m, e
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); fields[0] == "oom_kill" {
			m.killed, err = strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return m, err
}

// TestMemoryLimit runs the agent in a cgroup with the chart's memory limit, under the load that the limit is for, for
// KMESH_LIMITS (`make limits`), else for half a minute.
func TestMemoryLimit(t *testing.T) {
	duration := limitsShort
	if text := os.Getenv("KMESH_LIMITS"); text != "" {
		var err error
		duration, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	sink := newBackend(t)
	sink.discard = true
	values := "gateway.enabled=false,agent.endpoint=" + sink.address + ",agent.telemetry.scrape=true"
	if os.Getenv("KMESH_LIMITS_LOG") == "" {
		values += ",agent.accessLog.enabled=false" // as in an installation without values
	}
	s := install(t, values)
	clients, servers := s.network.Host("clients"), s.network.Host("servers")
	for n := range nodePods {
		address := fmt.Sprintf("10.244.13.%d", 1+n)
		s.createPod(t, fmt.Sprintf("client-%d", n), address)
		clients.Run("ip", "addr", "add", address+loadNetwork, "dev", "eth0")
	}
	for n := range peers {
		address := fmt.Sprintf("10.244.12.%d", 1+n)
		s.createPod(t, fmt.Sprintf("peer-%d", n), address)
		servers.Run("ip", "addr", "add", address+loadNetwork, "dev", "eth0")
	}
	agents := s.daemonSet(t)
	agent := s.agent(t, agents, thisNode(t))
	agent.start()
	answers200(t, healthOf(agents))
	before, err := agent.memory()
	require.NoError(t, err)
	require.Equal(t, agents.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value(), before.limit)

	l := startLoad(t, servers.Namespace())
	series := func(a require.TestingT) float64 {
		code, page := fetch(fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetryPort))
		require.Equal(a, 200, code)
		value, _ := sum(page, "otelcol_kmesh_series", `set="service"`)
		return value
	}
	made, begin, peak := 0, time.Now(), account{}
	for time.Since(begin) < duration {
		made += l.connect(t, clients.Namespace(), min(15*time.Second, duration))
		now, err := agent.memory()
		require.NoError(t, err)
		require.Zero(t, now.killed, "killed for lack of memory: %+v", now)
		peak = now
		t.Logf("%s: %d connections, %.0f series, peak %.0f MiB, resident %.0f MiB, %s", time.Since(begin).Round(time.Second), made, series(t),
			float64(now.peak)/(1<<20), float64(s.resident(t))/(1<<20), http200(healthOf(agents)))
	}
	took := time.Since(begin)
	t.Logf("%d connections in %s: %.0f/s of %d/s; memory peak %.1f MiB of %.0f MiB, %d killed", made, took.Round(time.Second),
		float64(made)/took.Seconds(), connectRate, float64(peak.peak)/(1<<20), float64(peak.limit)/(1<<20), peak.killed)
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		require.GreaterOrEqual(a, series(a), float64(min(seriesLimit, 2*made)), "as many series as the load has")
	}, eventually, tick)
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		_, page := fetch(fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetryPort))
		sent, _ := sum(page, "otelcol_exporter_sent_metric_points_total")
		require.Greater(a, sent, series(a), "the gateway gets what it is sent")
	}, eventually, tick)
	require.Nil(t, agent.cmd.ProcessState, "the agent runs still")
	answers200(t, healthOf(agents))
	own := fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetryPort)
	_, page := fetch(own)
	for _, metric := range []string{
		"otelcol_kmesh_records_lost_total", "otelcol_kmesh_totals_lost_total", "otelcol_kmesh_totals_recovered_total", "otelcol_kmesh_series_refused_total",
		"otelcol_exporter_sent_metric_points_total", "otelcol_exporter_enqueue_failed_metric_points_total", "otelcol_exporter_send_failed_metric_points_total", "otelcol_exporter_queue_size", "otelcol_receiver_refused_metric_points_total",
		"otelcol_exporter_sent_log_records_total", "otelcol_receiver_refused_log_records_total", "otelcol_process_cpu_seconds_total",
	} {
		value, _ := sum(page, metric)
		t.Logf("%s %.0f", metric, value)
	}
}

func http200(url string) string {
	code, _ := fetch(url)
	return fmt.Sprintf("health %d", code)
}

// resident is the agent's own resident memory, as it reports it.
func (s *installed) resident(t *testing.T) int64 {
	t.Helper()
	_, page := fetch(fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetryPort))
	value, _ := sum(page, "otelcol_process_memory_rss_bytes")
	return int64(value)
}

// generators are the compiled load generators of test/bench.
type generators struct{ folder string }

// startLoad compiles them, and starts the server in a network namespace.
func startLoad(t *testing.T, namespace string) generators {
	t.Helper()
	g := generators{folder: t.TempDir()}
	for _, name := range []string{"serve", "connect"} {
		run(t, "cc", "-O2", "-o", filepath.Join(g.folder, name), filepath.Join("../bench/load", name+".c"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, "nsenter", "--net="+namespace, filepath.Join(g.folder, "serve"), "answer", loadPort)
	out, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() { cancel(); _ = server.Wait() })
	ready := make([]byte, len("ready\n"))
	_, err = out.Read(ready)
	require.NoError(t, err)
	return g
}

// connect makes connections between every client and every peer, and returns how many.
func (g generators) connect(t *testing.T, namespace string, d time.Duration) int {
	t.Helper()
	cmd := exec.Command("nsenter", "--net="+namespace, filepath.Join(g.folder, "connect"), firstPeer, loadPort,
		strconv.FormatFloat(d.Seconds(), 'f', 1, 64), strconv.Itoa(connectRate), strconv.Itoa(peers), firstClient, strconv.Itoa(nodePods))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	made, err := strconv.Atoi(strings.Fields(string(out))[0])
	require.NoError(t, err)
	return made
}
