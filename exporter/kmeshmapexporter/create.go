// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Taking a batch is work in memory: it needs no queue, no retry and no timeout.
func (s *instances) createMetrics(ctx context.Context, settings exporter.Settings, config component.Config) (exporter.Metrics, error) {
	i, err := s.of(settings, config.(*Config))
	if err != nil {
		return nil, err
	}
	take := func(_ context.Context, batch pmetric.Metrics) error {
		i.graph.ConsumeMetrics(batch)
		return nil
	}
	return exporterhelper.NewMetrics(ctx, settings, config, take, i.options()...)
}

func (s *instances) createLogs(ctx context.Context, settings exporter.Settings, config component.Config) (exporter.Logs, error) {
	i, err := s.of(settings, config.(*Config))
	if err != nil {
		return nil, err
	}
	take := func(_ context.Context, batch plog.Logs) error {
		i.graph.ConsumeLogs(batch)
		return nil
	}
	return exporterhelper.NewLogs(ctx, settings, config, take, i.options()...)
}

func (i *instance) options() []exporterhelper.Option {
	return []exporterhelper.Option{
		exporterhelper.WithStart(i.start),
		exporterhelper.WithShutdown(i.shutdown),
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{}),
	}
}
