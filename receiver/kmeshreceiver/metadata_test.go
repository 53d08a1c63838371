// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

// metadataFile is what the tests read of metadata.yaml.
type metadataFile struct {
	Attributes map[string]struct {
		RequirementLevel string `yaml:"requirement_level"`
	}
	Metrics map[string]struct {
		Enabled           bool
		Description, Unit string
		Attributes        []string
		Sum               struct {
			ValueType   string `yaml:"value_type"`
			Monotonic   bool
			Temporality string `yaml:"aggregation_temporality"`
		}
	}
	Telemetry struct {
		Metrics map[string]any
	}
}

func readMetadata(t *testing.T) (m metadataFile) {
	t.Helper()
	text, err := os.ReadFile("metadata.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &m))
	return m
}

// What is documented is what is written.
func TestMetadataSaysWhatIsWritten(t *testing.T) {
	described := readMetadata(t).Metrics
	var written []string
	for _, m := range series.Metrics() {
		if m.Kind == series.KindHistogram {
			continue // mdatagen has no exponential ones
		}
		written = append(written, m.Name)
		d := described[m.Name]
		assert.Equal(t, m.Unit, d.Unit, m.Name)
		assert.Equal(t, m.Description, d.Description, m.Name)
		assert.Equal(t, "int", d.Sum.ValueType, m.Name)
		assert.Equal(t, m.Kind == series.KindSum, d.Sum.Monotonic, m.Name)
		assert.Equal(t, "cumulative", d.Sum.Temporality, m.Name)
		assert.Equal(t, m.Set == series.Service, d.Enabled, m.Name)
	}
	assert.ElementsMatch(t, written, slices.Collect(maps.Keys(described)))
	assert.ElementsMatch(t, written, sorted(serviceSetNames, workloadSetNames, connectionSetNames, istioSetNames, []string{"kmesh.tcp.connections.active"}))
}

func TestMetadataHasTheContractsLabels(t *testing.T) {
	const (
		before = "reporter source_workload source_canonical_service source_canonical_revision source_workload_namespace " +
			"source_principal source_app source_version source_cluster "
		service = "destination_service destination_service_namespace destination_service_name "
		pod     = "destination_pod_address destination_pod_namespace destination_pod_name "
		after   = "destination_workload destination_canonical_service destination_canonical_revision " +
			"destination_workload_namespace destination_principal destination_app destination_version destination_cluster " +
			"request_protocol response_flags connection_security_policy "
	)
	labels := map[series.Set][]string{
		series.Service:    strings.Fields(before + service + after),
		series.Workload:   strings.Fields(before + pod + after),
		series.Connection: strings.Fields(before + service + after + "start_time source_address destination_address " + pod),
	}
	labels[series.Istio], labels[series.Latency] = labels[series.Service], labels[series.Service]
	require.Len(t, labels[series.Service], 23)
	require.Len(t, labels[series.Workload], 23)
	require.Len(t, labels[series.Connection], 29)
	m, sets := readMetadata(t), metricSets()
	for name, metric := range m.Metrics {
		assert.Equal(t, labels[sets[name]], metric.Attributes, name)
		for _, label := range metric.Attributes {
			assert.Equal(t, "required", m.Attributes[label].RequirementLevel, "%s is never absent", label)
		}
	}
}
