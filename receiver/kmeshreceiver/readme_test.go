// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/otlp"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	return string(text)
}

func TestTheReadmeHasEveryKeyMetricAndInstrument(t *testing.T) {
	text := readme(t)
	keys := confmap.New()
	require.NoError(t, keys.Marshal(createDefaultConfig()))
	for _, key := range keys.AllKeys() {
		parent, _, _ := strings.Cut(key, confmap.KeyDelimiter)
		switch {
		case parent == "metrics", parent == "resource_attributes":
			key = parent
		case strings.HasPrefix(key, "identity::istio::tls"):
			key = "identity::istio::tls"
		}
		assert.Contains(t, text, "| `"+strings.ReplaceAll(key, confmap.KeyDelimiter, ".")+"` |")
	}
	for _, metric := range otlp.Catalog() {
		assert.Contains(t, text, "`"+metric.Name+"`")
	}
	for instrument := range readMetadata(t).Telemetry.Metrics {
		assert.Contains(t, text, "`otelcol_"+instrument+"`")
	}
}

func TestWhatTheReadmeShowsIsValid(t *testing.T) {
	configurations, files := 0, 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		if strings.HasPrefix(block[1], "workloads:") {
			files++
			found, err := file.Parse([]byte(block[1]))
			require.NoError(t, err)
			assert.Len(t, found.Workloads, 1)
			assert.Len(t, found.Services, 1)
			continue
		}
		configurations++
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(block[1]))
		require.NoError(t, err)
		all, err := retrieved.AsConf()
		require.NoError(t, err)
		conf, err := all.Sub("receivers::kmesh")
		require.NoError(t, err)
		config := createDefaultConfig().(*Config)
		require.NoError(t, conf.Unmarshal(config))
		config.ErrorMode = errorModeIgnore // the files that it names are not here
		require.NoError(t, config.Validate())
	}
	assert.Equal(t, 2, configurations)
	assert.Equal(t, 1, files)
}
