// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"
)

func TestTheReadmeHasEveryKeyAndInstrument(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, key := range []string{"endpoint", "window", "max_nodes", "max_viewers"} {
		assert.Contains(t, string(text), "| `"+key+"` |")
	}
	content, err := os.ReadFile("metadata.yaml")
	require.NoError(t, err)
	var described struct{ Telemetry struct{ Metrics map[string]any } }
	require.NoError(t, yaml.Unmarshal(content, &described))
	for instrument := range described.Telemetry.Metrics {
		assert.Contains(t, string(text), "| `otelcol_"+instrument+"` |")
	}
}

func TestWhatTheReadmeShowsIsValid(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(block[1]))
		require.NoError(t, err)
		all, err := retrieved.AsConf()
		require.NoError(t, err)
		conf, err := all.Sub("exporters::kmesh_map")
		require.NoError(t, err)
		config := createDefaultConfig().(*Config)
		require.NoError(t, conf.Unmarshal(config))
		require.NoError(t, config.Validate())
	}
}
