// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"go.opentelemetry.io/collector/receiver"

	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// NewFactory returns the factory of the receiver `kmesh`. Metrics and logs share one running instance.
func NewFactory() receiver.Factory { return newFactory(newInstances()) }

func newFactory(all *instances) receiver.Factory {
	return receiver.NewFactory(
		metadata.Type,
		createDefaultConfig,
		receiver.WithMetrics(all.createMetrics, metadata.MetricsStability),
		receiver.WithLogs(all.createLogs, metadata.LogsStability),
	)
}
