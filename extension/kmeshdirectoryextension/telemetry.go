// SPDX-License-Identifier: Apache-2.0

package kmeshdirectoryextension

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kmesh-net/otelcol-kmesh/extension/kmeshdirectoryextension/internal/metadata"
	"github.com/kmesh-net/otelcol-kmesh/internal/directory"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// observed is what self telemetry shows.
type observed interface {
	stats() directory.Stats
	held() identity.Held
	behind() int
	inSync() bool
}

func (e *directoryExtension) stats() directory.Stats { return e.server.Stats() }
func (e *directoryExtension) held() identity.Held    { return e.source.Held() }
func (e *directoryExtension) behind() int            { return e.source.Behind() }
func (e *directoryExtension) inSync() bool           { return e.source.InSync() }

// telemetry shows the directory whenever the collector reads its meter.
type telemetry struct {
	builder *metadata.TelemetryBuilder
	of      observed
}

func newTelemetry(settings component.TelemetrySettings, of observed) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(settings)
	if err != nil {
		return nil, err
	}
	t := &telemetry{builder, of}
	if err := t.register(); err != nil {
		builder.Shutdown()
		return nil, err
	}
	return t, nil
}

func (t *telemetry) shutdown() { t.builder.Shutdown() }

func (t *telemetry) register() error {
	b := t.builder
	one := func(of func(directory.Stats) uint64) metric.Int64Callback {
		return func(_ context.Context, to metric.Int64Observer) error {
			to.Observe(int64(of(t.of.stats())))
			return nil
		}
	}
	return errors.Join(
		b.RegisterKmeshDirectoryAgentsCallback(one(func(s directory.Stats) uint64 { return uint64(s.Agents) })),
		b.RegisterKmeshDirectorySubscriptionsCallback(one(func(s directory.Stats) uint64 { return uint64(s.Subscriptions) })),
		b.RegisterKmeshDirectoryRequestsCallback(one(func(s directory.Stats) uint64 { return s.Requests })),
		b.RegisterKmeshDirectoryResponsesCallback(one(func(s directory.Stats) uint64 { return s.Responses })),
		b.RegisterKmeshDirectoryRejectedCallback(one(func(s directory.Stats) uint64 { return s.Rejected })),
		b.RegisterKmeshDirectoryRefusedCallback(one(func(s directory.Stats) uint64 { return s.Refused })),
		b.RegisterKmeshDirectoryEventsBehindCallback(one(func(directory.Stats) uint64 { return uint64(t.of.behind()) })),
		b.RegisterKmeshDirectoryInSyncCallback(one(func(directory.Stats) uint64 {
			if t.of.inSync() {
				return 1
			}
			return 0
		})),
		b.RegisterKmeshDirectoryResourcesCallback(func(_ context.Context, to metric.Int64Observer) error {
			s := t.of.stats()
			to.Observe(int64(s.Resources), kind("sent"))
			to.Observe(int64(s.Removed), kind("removed"))
			return nil
		}),
		b.RegisterKmeshDirectoryIdentitiesCallback(func(_ context.Context, to metric.Int64Observer) error {
			held := t.of.held()
			to.Observe(int64(held.Workloads), kind("workload"))
			to.Observe(int64(held.Services), kind("service"))
			return nil
		}),
	)
}

func kind(name string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("kind", name)))
}
