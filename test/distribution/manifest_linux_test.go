// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package distribution

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// A user's collector: our module by its path and one exporter. It fails when the module
// needs anything that only our own manifest brings, a C compiler for one.
func TestOwnManifestBuilds(t *testing.T) {
	repository, err := filepath.Abs("../..")
	require.NoError(t, err)
	folder := t.TempDir()
	manifest := filepath.Join(folder, "builder-config.yaml")
	require.NoError(t, os.WriteFile(manifest, fmt.Appendf(nil, `
dist:
  name: otelcol-own
  output_path: %s/otelcol-own
receivers:
  - gomod: github.com/kmesh-net/otelcol-kmesh v0.0.0
    import: github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver
    path: %s
exporters:
  - gomod: go.opentelemetry.io/collector/exporter/debugexporter v0.159.0
`, folder, repository), 0o600))

	build := exec.Command(filepath.Join(repository, ".tools/builder"), "--config", manifest)
	build.Dir = folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "CC=false")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	out, err = exec.Command(filepath.Join(folder, "otelcol-own/otelcol-own"), "components").Output()
	require.NoError(t, err)
	var components struct {
		Receivers []struct {
			Name   string `yaml:"name"`
			Module string `yaml:"module"`
		} `yaml:"receivers"`
	}
	require.NoError(t, yaml.Unmarshal(out, &components))
	require.Len(t, components.Receivers, 1)
	require.Equal(t, "kmesh", components.Receivers[0].Name)
	require.Contains(t, components.Receivers[0].Module, "github.com/kmesh-net/otelcol-kmesh")
}
