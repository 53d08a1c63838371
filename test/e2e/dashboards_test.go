// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// What is planted for the three questions of the overview.
const (
	plantedFailures = 40       // connects of sleep that are refused
	plantedBytes    = 20 << 20 // from client to server
	plainRounds     = 60       // connections of sleep that are as they should be
)

// startDashboards runs Prometheus with the recording rules and alerts, Loki, and a collector whose own metrics arrive as an
// agent's do.
func startDashboards(t *testing.T) *stack {
	t.Helper()
	rules := t.TempDir()
	files, err := filepath.Glob("../../deploy/prometheus/*.yaml")
	require.NoError(t, err)
	for _, path := range files {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		hurried := regexp.MustCompile(`interval: (30s|1m)\n`).ReplaceAllString(string(content), "interval: 1s\n")
		require.NoError(t, os.WriteFile(filepath.Join(rules, filepath.Base(path)), []byte(hurried), 0o600))
	}
	p := startPrometheusWith(t, "global: {evaluation_interval: 1s}\nrule_files: ["+rules+"/*.yaml]\n", "--enable-feature=exemplar-storage")
	l := startLoki(t)
	health, otlp := testhost.FreePort(t), testhost.FreePort(t)
	c := &collector{program: program{
		name: "otelcol-kmesh",
		path: collectorPath,
		args: []string{"--config", filepath.Join(configurations, "dashboards.yaml")},
		env: []string{
			"E2E_IDENTITY=" + filepath.Join(configurations, "identity.yaml"), "E2E_PROMETHEUS=" + p.url, "E2E_LOKI=" + l.url,
			fmt.Sprintf("E2E_HEALTH=127.0.0.1:%d", health), fmt.Sprintf("E2E_OTLP=127.0.0.1:%d", otlp),
		},
		ready: fmt.Sprintf("http://127.0.0.1:%d/", health),
	}}
	c.start(t)
	return &stack{prometheus: p, loki: l, collector: c}
}

// panelQuery returns the only query of a panel.
func panelQuery(t *testing.T, dashboard, title string) string {
	t.Helper()
	for _, q := range dashboardQueries(t, "../../deploy/grafana/"+dashboard) {
		if q.from == dashboard+": "+title {
			return q.expression
		}
	}
	t.Fatalf("%s has no panel %q", dashboard, title)
	return ""
}

// row is a line of a table panel.
type row struct {
	labels string
	value  float64
}

// rows gives the samples with the named labels, the largest value first.
func rows(samples []sample, labels ...string) (all []row) {
	for _, s := range samples {
		var values []string
		for _, label := range labels {
			values = append(values, s.labels[label])
		}
		all = append(all, row{labels: strings.Join(values, " "), value: s.value})
	}
	for i := range all {
		for j := i + 1; j < len(all); j++ {
			if all[j].value > all[i].value {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return all
}

// at evaluates a PromQL expression at a time.
func (p *prometheus) at(expression string, at time.Time) ([]sample, error) {
	return instantAt(p.url+"/api/v1/query", expression, at)
}

// TestDashboards plants a failure, a cost and something new, and asks every query of the repository. The queries that
// answer the three questions must single out what was planted, with the number that the applications counted.
func TestDashboards(t *testing.T) {
	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", "10.244.0.10/16")
	httpbin := network.Host("httpbin", "10.244.0.11/16")
	client := network.Host("client", "10.244.7.10/16")
	server := network.Host("server", "10.244.7.11/16")
	s := startDashboards(t)
	var served count
	serve(t, httpbin, "10.244.0.11:80", func(int64) int64 { return answerSize }, &served)
	serve(t, server, "10.244.7.11:80", func(int64) int64 { return answerSize }, &served)

	// Each flow is there before what is counted: rate and increase see no value before a series' first sample.
	var counted count
	bulk := func(size int64) {
		conn, err := dial(client, "10.244.7.11:80")
		require.NoError(t, err)
		require.NoError(t, request(conn, size, answerSize, &counted))
		require.NoError(t, conn.Close())
	}
	plainConnection(t, sleep, "10.244.0.11:80")
	refusedConnect(t, sleep)
	bulk(1)
	hasSeries := func(selector string, want int) {
		t.Helper()
		eventually(t, func(c *assert.CollectT) {
			samples, err := s.prometheus.query(selector)
			require.NoError(c, err)
			require.Len(c, samples, want)
		})
	}
	hasSeries(`kmesh_tcp_connections_closed_total{reporter="source"} > 0`, 2)
	hasSeries(`kmesh_tcp_conntections_failed_total > 0`, 1)
	baseline := time.Now()
	eventually(t, func(c *assert.CollectT) {
		samples, err := s.prometheus.query(`min(count_over_time(kmesh_tcp_conntections_failed_total[5m]))`)
		require.NoError(c, err)
		require.Len(c, samples, 1)
		require.Greater(c, samples[0].value, 3.0)
	})

	bulk(plantedBytes)
	for range plainRounds {
		plainConnection(t, sleep, "10.244.0.11:80")
	}
	for range plantedFailures {
		refusedConnect(t, sleep)
	}
	resetConnection(t, client, server, "10.244.7.11:81")
	hasSeries(fmt.Sprintf(`kmesh_tcp_conntections_failed_total == %d`, 1+plantedFailures), 1)
	// New since "yesterday": later than everything else.
	middle := time.Now().Add(2 * time.Second)
	require.Eventually(t, func() bool { return time.Now().After(middle.Add(time.Second)) }, time.Minute, tickOfTests)
	plainConnection(t, client, "10.244.0.11:80")
	hasSeries(`kmesh_tcp_connections_closed_total{reporter="source"} > 0`, 3)
	t.Logf("planted within %s", time.Since(baseline).Round(time.Second))

	const flow, toHTTPBin = "source_workload destination_service", "httpbin.default.svc.cluster.local"
	labels := strings.Fields(flow)
	t.Run("who fails", func(t *testing.T) {
		samples, err := s.prometheus.query(panelQuery(t, "overview.json", "Failed connects"))
		require.NoError(t, err)
		got := rows(samples, labels...)
		require.Len(t, got, 1)
		require.Equal(t, "sleep "+toHTTPBin, got[0].labels)
		require.InEpsilon(t, plantedFailures, got[0].value, extrapolation)
	})
	t.Run("why", func(t *testing.T) {
		expression := panelQuery(t, "connection-log.json", "Failed connects by reason")
		eventually(t, func(c *assert.CollectT) {
			samples, err := s.loki.sums(expression)
			require.NoError(c, err)
			got := rows(samples, "src_workload", "error_type")
			require.Len(c, got, 1)
			require.Equal(c, "sleep-7656cf8794-4fqx2 connection_refused", got[0].labels)
			require.InDelta(c, 1+plantedFailures, got[0].value, 0)
		})
		samples, err := s.loki.sums(panelQuery(t, "connection-log.json", "Connections that were reset or timed out"))
		require.NoError(t, err)
		for _, r := range rows(samples, "src_workload", "dst_workload") {
			require.Equal(t, "client-6d5f7c9b8-q7w2k server-57b4c6d9f4-m8n3p", r.labels)
		}
		require.NotEmpty(t, samples)
	})
	t.Run("who costs what", func(t *testing.T) {
		samples, err := s.prometheus.query(panelQuery(t, "overview.json", "Bytes by flow"))
		require.NoError(t, err)
		got := rows(samples, labels...)
		require.Equal(t, "client server.load.svc.cluster.local", got[0].labels)
		require.InEpsilon(t, plantedBytes+answerSize, got[0].value, extrapolation)
		require.Equal(t, "sleep "+toHTTPBin, got[1].labels)
		require.InEpsilon(t, plainRounds*(sampleRequest+answerSize), got[1].value, extrapolation)
	})
	t.Run("what crosses zones", func(t *testing.T) {
		eventually(t, func(c *assert.CollectT) {
			samples, err := s.prometheus.query(`max by (from_zone, to_zone) (max_over_time(zone:kmesh_tcp_bytes:rate5m{from_zone="eu-1a"}[10m]))`)
			require.NoError(c, err)
			got := rows(samples, "from_zone", "to_zone")
			require.NotEmpty(c, got)
			require.Equal(c, "eu-1a eu-1b", got[0].labels)
			// The rate is over 5 minutes, of which the flow was there for a part.
			require.Positive(c, got[0].value)
		})
	})
	t.Run("who is slow", func(t *testing.T) { exemplarsLeadToTheLog(t, s) })
	t.Run("what is new", func(t *testing.T) {
		// As of an hour later: the last hour began between the old flows and the new one.
		then := middle.Add(time.Hour)
		samples, err := s.prometheus.at(panelQuery(t, "overview.json", "New flows"), then)
		require.NoError(t, err)
		require.Equal(t, []row{{labels: "client " + toHTTPBin, value: 1}}, rows(samples, labels...))
		samples, err = s.prometheus.at(panelQuery(t, "overview.json", "New failures"), then)
		require.NoError(t, err)
		require.Empty(t, samples)
	})
	t.Run("connects to a service fail", func(t *testing.T) {
		eventually(t, func(c *assert.CollectT) {
			samples, err := s.prometheus.query(`service:kmesh_tcp_connects_failed:ratio_rate5m`)
			require.NoError(c, err)
			for _, sample := range samples {
				if sample.labels["destination_service"] == toHTTPBin {
					require.InEpsilon(c, float64(plantedFailures)/(plantedFailures+plainRounds), sample.value, extrapolation)
					return
				}
			}
			require.Fail(c, "no ratio")
		})
		samples, err := s.prometheus.query(`ALERTS{alertname!="KmeshConnectsFail",alertstate="firing"}`)
		require.NoError(t, err)
		require.Empty(t, samples, "a healthy agent raises no alert")
		samples, err = s.prometheus.query(`ALERTS{alertname="KmeshConnectsFail",destination_service="` + toHTTPBin + `"}`)
		require.NoError(t, err)
		require.Len(t, samples, 1)
	})

	for _, q := range allQueries(t) {
		t.Run(strings.ReplaceAll(q.from, "/", " "), func(t *testing.T) {
			if q.logQL {
				runLogQL(t, s.loki, q)
				return
			}
			samples, err := s.prometheus.query(q.expression)
			require.NoError(t, err)
			if !q.mayBeEmpty {
				require.NotEmpty(t, samples, q.expression)
			}
		})
	}
}

// exemplarsLeadToTheLog follows the exemplars of the latency panels to the records of their connections.
func exemplarsLeadToTheLog(t *testing.T, s *stack) {
	t.Helper()
	for _, metric := range []string{"kmesh_tcp_connect_duration_seconds", "kmesh_tcp_connection_duration_seconds", "kmesh_tcp_rtt_seconds"} {
		found, err := s.prometheus.exemplars(metric + `{destination_service="httpbin.default.svc.cluster.local"}`)
		require.NoError(t, err)
		require.NotEmpty(t, found, metric)
		for _, e := range found {
			trace := e.labels["trace_id"]
			eventually(t, func(c *assert.CollectT) {
				lines, err := s.loki.lines(`{service_name="kmesh"} | trace_id="` + trace + `"`)
				require.NoError(c, err)
				require.Len(c, lines, 2, "both ends of the connection")
				for _, line := range lines {
					require.Equal(c, "httpbin.default.svc.cluster.local", line.labels["dst_service"])
				}
			})
		}
	}
}

// extrapolation is how far increase() may be from what was counted: it extends the samples' difference by up to an
// interval at both ends of the series.
const extrapolation = 0.25

const tickOfTests = 100 * time.Millisecond

func runLogQL(t *testing.T, l *loki, q query) {
	t.Helper()
	if strings.Contains(q.expression, "_over_time(") || strings.Contains(q.expression, "rate(") {
		samples, err := l.sums(q.expression)
		require.NoError(t, err)
		if !q.mayBeEmpty {
			require.NotEmpty(t, samples, q.expression)
		}
		return
	}
	_, err := l.lines(q.expression)
	require.NoError(t, err)
}

// resetConnection ends a connection with a reset.
func resetConnection(t *testing.T, from, to *testhost.Host, address string) {
	t.Helper()
	listener := listen(t, to, address)
	defer func() { _ = listener.Close() }()
	conn, err := dial(from, address)
	require.NoError(t, err)
	accepted, err := listener.Accept()
	require.NoError(t, err)
	require.NoError(t, conn.SetLinger(0))
	require.NoError(t, conn.Close())
	_, err = accepted.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.NoError(t, accepted.Close())
}
