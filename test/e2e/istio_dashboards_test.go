// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// startIstioSet runs the collector with the Istio set only.
func startIstioSet(t testing.TB, p *prometheus, env ...string) *program {
	t.Helper()
	health := testhost.FreePort(t)
	c := &program{
		name: "otelcol-kmesh",
		path: collectorPath,
		args: []string{"--config", filepath.Join(configurations, "istio.yaml")},
		env: append([]string{
			"E2E_IDENTITY=" + filepath.Join(configurations, "identity.yaml"), "E2E_PROMETHEUS=" + p.url,
			fmt.Sprintf("E2E_HEALTH=127.0.0.1:%d", health),
		}, env...),
		ready: fmt.Sprintf("http://127.0.0.1:%d/", health),
	}
	c.start(t)
	return c
}

// TestIstioDashboards asks what the panels on TCP of Istio's own dashboards ask, while a connection carries bytes at a
// known rate. Istio's received are the request bytes and its sent the response bytes, whichever end reports them.
func TestIstioDashboards(t *testing.T) {
	content, err := os.ReadFile("../../testdata/istio/dashboards.yaml")
	require.NoError(t, err)
	var boards struct {
		Panels []struct{ Dashboard, Title, Want, Expr string }
	}
	require.NoError(t, yaml.Unmarshal(content, &boards))
	require.Len(t, boards.Panels, 28)

	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", "10.244.0.10/24")
	httpbin := network.Host("httpbin", "10.244.0.11/24")
	p := startPrometheus(t)
	startIstioSet(t, p)
	stream(t, sleep, httpbin, "10.244.0.11:80")

	for _, reporter := range []string{"source", "destination"} {
		fill := strings.NewReplacer("$__rate_interval", "4s", "$qrep", reporter, "$service", "httpbin.default.svc.cluster.local",
			`destination_workload=~"$workload"`, `destination_workload=~"httpbin"`, `source_workload=~"$workload"`, `source_workload=~"sleep"`,
			"$namespace", "default", "$srcwl", "sleep", "$srcns", "default", "$dstwl", "httpbin", "$dstns", "default", "$dstsvc", ".*")
		for _, panel := range boards.Panels {
			ends := 1.0
			if panel.Dashboard == "ztunnel" {
				ends = 2 // both are this node's
			}
			want := map[string]float64{
				"requests": ends * streamUp, "answers": ends * streamDown, "all": streamUp + streamDown, "open": ends, "rate": 0,
			}
			t.Run(reporter+" "+panel.Dashboard+" "+panel.Title, func(t *testing.T) {
				eventually(t, func(c *assert.CollectT) {
					samples, err := p.query(fill.Replace(panel.Expr))
					require.NoError(c, err)
					if panel.Want == "nothing" {
						require.Empty(c, samples)
						return
					}
					require.Len(c, samples, 1)
					require.InDelta(c, want[panel.Want], samples[0].value, streamError*want[panel.Want], samples[0].String())
				})
			})
		}
	}
	samples, err := p.query(`{__name__=~"istio_tcp_.*",source_workload!="sleep"} or {__name__=~"istio_tcp_.*",destination_workload!="httpbin"}`)
	require.NoError(t, err)
	require.Empty(t, samples)
}
