// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// prometheus is a real Prometheus that takes remote writes, and scrapes what its configuration names.
type prometheus struct {
	local string // URL in the test's network
	write string // URL for the gateway
}

func startPrometheus(t *testing.T, configuration string) *prometheus {
	t.Helper()
	dir, port := t.TempDir(), testhost.FreePort(t)
	path := filepath.Join(dir, "prometheus.yaml")
	require.NoError(t, os.WriteFile(path, []byte(configuration), 0o600))
	p := &prometheus{
		local: fmt.Sprintf("http://127.0.0.1:%d", port),
		write: fmt.Sprintf("http://%s:%d/api/v1/write", nodeAddress, port),
	}
	start(t, p.local+"/-/ready", "../../.tools/prometheus", "--config.file="+path, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		fmt.Sprintf("--web.listen-address=0.0.0.0:%d", port), "--web.enable-remote-write-receiver", "--log.level=warn")
	return p
}

// series is a series' samples of the last hour.
type series struct {
	labels map[string]string
	values []float64
}

// samples returns what a selector finds, sample by sample.
func (p *prometheus) samples(selector string) ([]series, error) {
	code, body := fetch(p.local + "/api/v1/query?" + url.Values{"query": {selector + "[1h]"}}.Encode())
	if code != 200 {
		return nil, fmt.Errorf("%s: %d: %s", selector, code, body)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, err
	}
	var all []series
	for _, result := range answer.Data.Result {
		s := series{labels: result.Metric}
		for _, value := range result.Values {
			v, err := strconv.ParseFloat(value[1].(string), 64)
			if err != nil {
				return nil, err
			}
			s.values = append(s.values, v)
		}
		all = append(all, s)
	}
	return all, nil
}

// counted is what a counter counted: a value that falls is a new life's, as for rate() and increase().
func (s series) counted() (total float64) {
	before := 0.0
	for _, value := range s.values {
		if value < before {
			before = 0
		}
		total += value - before
		before = value
	}
	return total
}

// requireTotals waits until Prometheus has exactly these bytes of an instance, on one series for each.
func (p *prometheus) requireTotals(t *testing.T, instance string, want exchanged) {
	t.Helper()
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		for _, end := range want.ends() {
			found, err := p.samples(fmt.Sprintf(`kmesh_tcp_%s_bytes_total{source_workload="client",destination_workload="server",reporter=%q,instance=%q}`,
				end.metric, end.reporter, instance))
			require.NoError(a, err)
			require.Len(a, found, 1, "series of %s", instance)
			require.InDelta(a, float64(end.value), found[0].counted(), 0, "%s: %s of the %s: %v", instance, end.metric, end.reporter, found[0].values)
		}
	}, eventually, tick)
}
