// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"go.opentelemetry.io/collector/exporter"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/metadata"
)

// NewFactory returns the factory of the exporter `kmesh_map`: metrics and logs, shown by one page for both.
func NewFactory() exporter.Factory {
	all := newInstances()
	return exporter.NewFactory(
		metadata.Type,
		createDefaultConfig,
		exporter.WithMetrics(all.createMetrics, metadata.MetricsStability),
		exporter.WithLogs(all.createLogs, metadata.LogsStability),
	)
}
