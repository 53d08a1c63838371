// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/graph"
	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/live"
	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/metadata"
)

// telemetry shows the counts of a graph and its feed whenever the collector reads its meter.
type telemetry struct {
	builder *metadata.TelemetryBuilder
}

func newTelemetry(settings component.TelemetrySettings, g *graph.Graph, feed *live.Feed) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(settings)
	if err != nil {
		return nil, err
	}
	number := func(of func(graph.Counts) uint64) metric.Int64Callback {
		return func(_ context.Context, to metric.Int64Observer) error {
			to.Observe(int64(of(g.Counts())))
			return nil
		}
	}
	err = errors.Join(
		builder.RegisterKmeshMapEdgesCallback(number(func(c graph.Counts) uint64 { return uint64(c.Edges) })),
		builder.RegisterKmeshMapPointsCallback(number(func(c graph.Counts) uint64 { return c.Points })),
		builder.RegisterKmeshMapPointsRefusedCallback(number(func(c graph.Counts) uint64 { return c.Refused })),
		builder.RegisterKmeshMapRecordsCallback(number(func(c graph.Counts) uint64 { return c.Records })),
		builder.RegisterKmeshMapRecordsUnmatchedCallback(number(func(c graph.Counts) uint64 { return c.Unmatched })),
		builder.RegisterKmeshMapSeriesCallback(number(func(c graph.Counts) uint64 { return uint64(c.Series) })),
		builder.RegisterKmeshMapViewersCallback(func(_ context.Context, to metric.Int64Observer) error {
			to.Observe(int64(feed.Counts().Viewers))
			return nil
		}),
		builder.RegisterKmeshMapViewersEndedCallback(func(_ context.Context, to metric.Int64Observer) error {
			counts := feed.Counts()
			to.Observe(int64(counts.Slow), kind("slow"))
			to.Observe(int64(counts.Refused), kind("refused"))
			return nil
		}),
	)
	if err != nil {
		builder.Shutdown()
		return nil, err
	}
	return &telemetry{builder}, nil
}

func (t *telemetry) shutdown() { t.builder.Shutdown() }

func kind(name string) metric.ObserveOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("kind", name)))
}
