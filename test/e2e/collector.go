// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// collector is the distribution, watching the whole machine.
type collector struct {
	program
	telemetry string // URL of its own metrics
	pprof     string // URL of its profiles
}

// startCollector runs the distribution with testdata/e2e/collector.yaml, and env beside what that takes from the
// environment. The probe is attached when it returns.
func startCollector(t testing.TB, p *prometheus, l *loki, env ...string) *collector {
	t.Helper()
	health, telemetry, pprof := testhost.FreePort(t), testhost.FreePort(t), testhost.FreePort(t)
	c := &collector{
		telemetry: fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetry),
		pprof:     fmt.Sprintf("http://127.0.0.1:%d", pprof),
	}
	c.program = program{
		name: "otelcol-kmesh",
		path: collectorPath,
		args: []string{"--config", filepath.Join(configurations, "collector.yaml")},
		env: append([]string{
			"E2E_IDENTITY=" + filepath.Join(configurations, "identity.yaml"),
			"E2E_PROMETHEUS=" + p.url,
			"E2E_LOKI=" + l.url,
			fmt.Sprintf("E2E_HEALTH=127.0.0.1:%d", health),
			fmt.Sprintf("E2E_TELEMETRY_PORT=%d", telemetry),
			fmt.Sprintf("E2E_PPROF=127.0.0.1:%d", pprof),
		}, env...),
		ready: fmt.Sprintf("http://127.0.0.1:%d/", health),
	}
	c.start(t)
	t.Cleanup(func() { // before the program's own, which stops it
		if t.Failed() && c.cmd != nil {
			t.Logf("--- the collector's own metrics:\n%s", c.ownMetrics())
		}
	})
	return c
}

var ownMetric = regexp.MustCompile(`^otelcol_(kmesh|receiver|exporter)_`)

// ownMetrics are the collector's metrics about the receiver and the exporters, a line each.
func (c *collector) ownMetrics() string {
	body, err := get(c.telemetry)
	if err != nil {
		return err.Error()
	}
	var kept []string
	for line := range strings.Lines(string(body)) {
		if ownMetric.MatchString(line) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// own returns the sum of one of the collector's own metrics.
func (c *collector) own(t require.TestingT, name string) (sum float64) {
	for line := range strings.Lines(c.ownMetrics()) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.ContainsAny(strings.TrimPrefix(rest, "_total")[:1], "{ ") {
			fields := strings.Fields(line)
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			require.NoError(t, err)
			sum += value
		}
	}
	return sum
}

// stack is what a scenario runs on.
type stack struct {
	prometheus *prometheus
	loki       *loki
	collector  *collector
}

func startStack(t testing.TB, env ...string) *stack {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			// Another test's hosts with the same addresses would explain numbers that are too large.
			hosts, err := exec.Command("ip", "netns", "list").CombinedOutput()
			t.Logf("--- network namespaces of this machine (%v):\n%s", err, hosts)
		}
	})
	p, l := startPrometheus(t), startLoki(t)
	return &stack{prometheus: p, loki: l, collector: startCollector(t, p, l, env...)}
}

// validate asks the distribution whether a configuration is valid, and returns its output.
func validate(configuration string, env ...string) (string, error) {
	cmd := exec.Command(collectorPath, "validate", "--config", configuration,
		"--feature-gates=+extension.healthcheck.useComponentStatus") // as the manifests start it
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
