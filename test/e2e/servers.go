// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// What make builds, and what the tests configure it with; relative to this folder, where `go test` runs.
const (
	prometheusPath = "../../.tools/prometheus"
	lokiPath       = "../../.tools/loki"
	collectorPath  = "../../dist/otelcol-kmesh"
	configurations = "../../testdata/e2e"
)

// prometheus is a real Prometheus with its remote write receiver on.
type prometheus struct {
	program
	url string
}

func startPrometheus(t testing.TB) *prometheus {
	t.Helper()
	return startPrometheusWith(t, "") // nothing is scraped
}

func startPrometheusWith(t testing.TB, content string, args ...string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	configuration := filepath.Join(dir, "prometheus.yaml")
	require.NoError(t, os.WriteFile(configuration, []byte(content), 0o600))
	address := fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t))
	p := &prometheus{url: "http://" + address}
	p.program = program{
		name: "prometheus",
		path: prometheusPath,
		args: append([]string{
			"--config.file=" + configuration,
			"--storage.tsdb.path=" + filepath.Join(dir, "data"),
			"--web.listen-address=" + address,
			"--web.enable-remote-write-receiver",
			"--log.level=warn",
		}, args...),
		ready: p.url + "/-/ready",
	}
	p.start(t)
	return p
}

// loki is a real Loki of one process on a file system.
type loki struct {
	program
	url string
	// entries is how many lines a query may return: max_entries_limit_per_query.
	entries int
}

func startLoki(t testing.TB) *loki {
	t.Helper()
	return startLokiWith(t, "loki.yaml", 1_000_000)
}

func startLokiWith(t testing.TB, configuration string, entries int) *loki {
	t.Helper()
	port := testhost.FreePort(t)
	l := &loki{url: fmt.Sprintf("http://127.0.0.1:%d", port), entries: entries}
	l.program = program{
		name: "loki",
		path: lokiPath,
		args: []string{"-config.file=" + filepath.Join(configurations, configuration), "-config.expand-env"},
		env: []string{
			"E2E_DIR=" + t.TempDir(),
			fmt.Sprintf("E2E_PORT=%d", port),
			fmt.Sprintf("E2E_GRPC_PORT=%d", testhost.FreePort(t)),
		},
		ready: l.url + "/ready",
	}
	l.start(t)
	return l
}
