// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	transfers     = 3
	transferBytes = 1_000_000
	createdZeros  = "--enable-feature=created-timestamp-zero-ingestion"
	otlpReceiver  = "--web.enable-otlp-receiver"

	transferred = `kmesh_tcp_sent_bytes_total{reporter="source",source_workload="client",destination_workload="server"}`
)

// way is how metrics reach a Prometheus of their own.
type way struct {
	name       string
	prometheus *prometheus
	blind      bool // it never sees the first value of a series: increase() is 0
}

// TestIncreaseSeesEachTransfer makes transfers that are further apart than series_expiration, so that each has a series
// of its own. increase() must come to the bytes of the applications.
func TestIncreaseSeesEachTransfer(t *testing.T) {
	network := testhost.NewNetwork(t)
	client := network.Host("client", "10.244.7.10/24")
	server := network.Host("server", "10.244.7.11/24")
	var served, sent count
	serve(t, server, "10.244.7.11:80", func(int64) int64 { return answerSize }, &served)
	ways := startIncrease(t)

	for n := range transfers {
		conn, err := dial(client, "10.244.7.11:80")
		require.NoError(t, err)
		require.NoError(t, request(conn, transferBytes, answerSize, &sent))
		require.NoError(t, conn.Close())
		// The series is there everywhere, for as long as series_expiration, and ends.
		seen := make(map[string]bool, len(ways))
		eventually(t, func(c *assert.CollectT) {
			for _, w := range ways {
				samples, err := w.prometheus.query(fmt.Sprintf(`%s == %d`, transferred, transferBytes))
				require.NoError(c, err)
				seen[w.name] = seen[w.name] || len(samples) == 1
			}
			for _, w := range ways {
				require.True(c, seen[w.name], "%s: transfer %d", w.name, n)
			}
		})
		for _, w := range ways {
			eventually(t, func(c *assert.CollectT) {
				samples, err := w.prometheus.query(transferred)
				require.NoError(c, err)
				require.Empty(c, samples, "%s: transfer %d", w.name, n)
			})
		}
	}
	require.EqualValues(t, transfers*transferBytes, sent.sent.Load())
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { testIncrease(t, w, sent.sent.Load()) })
	}
}

func testIncrease(t *testing.T, w way, want int64) {
	values, err := w.prometheus.values(transferred + "[5m]")
	require.NoError(t, err)
	samples, err := w.prometheus.query("increase(" + transferred + "[5m])")
	require.NoError(t, err)
	require.Len(t, samples, 1)
	got := samples[0].value
	t.Logf("applications: %d, increase(): %.0f, %d samples %v", want, got, len(values), values)
	if w.blind {
		// As in docs/troubleshooting.md.
		require.Zero(t, got)
		require.Zero(t, grown(values))
		return
	}
	require.InDelta(t, want, grown(values), 0, "the samples' differences")
	// increase() extends them by at most 1.1 of the samples' distance behind the last, and before the first not below 0.
	require.GreaterOrEqual(t, got, float64(want))
	require.LessOrEqual(t, got, float64(want)*(1+1.1/float64(len(values)-1)))
}

// grown adds up what a counter grew by; a fall is a reset.
func grown(values []float64) (sum float64) {
	for i := 1; i < len(values); i++ {
		if values[i] >= values[i-1] {
			sum += values[i] - values[i-1]
		} else {
			sum += values[i]
		}
	}
	return sum
}

// startIncrease starts a collector and a Prometheus for each way.
func startIncrease(t *testing.T) []way {
	t.Helper()
	scraped := fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t))
	scrape := fmt.Sprintf("scrape_configs: [{job_name: kmesh, scrape_interval: 1s, static_configs: [{targets: [%q]}]}]\n", scraped)
	written := startPrometheus(t)
	written2 := startPrometheus(t)
	otlp := startPrometheusWith(t, "", otlpReceiver)
	created := startPrometheusWith(t, "", otlpReceiver, createdZeros)
	health := testhost.FreePort(t)
	c := program{
		name: "otelcol-kmesh",
		path: collectorPath,
		args: []string{
			"--config", filepath.Join(configurations, "increase.yaml"),
			"--feature-gates=exporter.prometheusremotewritexporter.enableSendingRW2",
		},
		env: []string{
			"E2E_IDENTITY=" + filepath.Join(configurations, "identity.yaml"), "E2E_SCRAPED=" + scraped,
			"E2E_REMOTE_WRITE_1=" + written.url, "E2E_REMOTE_WRITE_2=" + written2.url, "E2E_OTLP=" + otlp.url, "E2E_OTLP_CREATED=" + created.url,
			fmt.Sprintf("E2E_HEALTH=127.0.0.1:%d", health),
		},
		ready: fmt.Sprintf("http://127.0.0.1:%d/", health),
	}
	c.start(t)
	byScrape := startPrometheusWith(t, scrape)
	byScrapeCreated := startPrometheusWith(t, scrape, createdZeros)
	for _, p := range []*prometheus{byScrape, byScrapeCreated} {
		// A Prometheus looks for its targets some seconds after it is ready.
		eventually(t, func(c *assert.CollectT) {
			samples, err := p.query("up == 1")
			require.NoError(c, err)
			require.Len(c, samples, 1)
		})
	}
	return []way{
		{name: "remote write 1.0", prometheus: written},
		{name: "remote write 2.0", prometheus: written2},
		{name: "OTLP", prometheus: otlp},
		{name: "OTLP, created time stamps", prometheus: created},
		{name: "scraped", prometheus: byScrape, blind: true},
		{name: "scraped, created time stamps", prometheus: byScrapeCreated},
	}
}

// values are those of the one series that a range selector takes, the oldest first.
func (p *prometheus) values(selector string) ([]float64, error) {
	body, err := get(p.url + "/api/v1/query?" + url.Values{"query": {selector}}.Encode())
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct{ Values [][2]json.RawMessage }
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("query %s: %w: %s", selector, err, body)
	}
	if len(answer.Data.Result) != 1 {
		return nil, fmt.Errorf("query %s: not one series: %s", selector, body)
	}
	var values []float64
	for _, pair := range answer.Data.Result[0].Values {
		var text string
		if err := json.Unmarshal(pair[1], &text); err != nil {
			return nil, fmt.Errorf("query %s: %w", selector, err)
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", selector, err)
		}
		values = append(values, value)
	}
	return values, nil
}
