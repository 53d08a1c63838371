package kmeshreceiver

import (
	"go.opentelemetry.io/collector/receiver"

	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// NewFactory makes the factory of the receiver `kmesh`: metrics and logs, from one
// running instance for both.
func NewFactory() receiver.Factory {
	return receiver.NewFactory(
		metadata.Type,
		createDefaultConfig,
		receiver.WithMetrics(createMetrics, metadata.MetricsStability),
		receiver.WithLogs(createLogs, metadata.LogsStability),
	)
}
