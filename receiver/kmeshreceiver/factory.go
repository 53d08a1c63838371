// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
	"github.com/kmesh-net/otelcol-kmesh/internal/spans"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// NewFactory returns the factory of the receiver `kmesh`. All signals share one running instance.
func NewFactory() receiver.Factory { return newFactory(newInstances()) }

// newFactory has a line for each signal.
func newFactory(all *instances) receiver.Factory {
	return receiver.NewFactory(
		metadata.Type,
		createDefaultConfig,
		receiver.WithMetrics(create[receiver.Metrics](all, "metrics", newMetricsSink), metadata.MetricsStability),
		receiver.WithLogs(create[receiver.Logs](all, "logs", newLogsSink), metadata.LogsStability),
		receiver.WithTraces(create[receiver.Traces](all, "traces", newTracesSink), metadata.TracesStability),
	)
}

// newSink makes the sink of a signal, which passes telemetry on to next.
type newSink[C any] func(config *Config, settings sink.Settings, next C, report *receiverhelper.ObsReport) agent.Sink

func newMetricsSink(c *Config, settings sink.Settings, next consumer.Metrics, report *receiverhelper.ObsReport) agent.Sink {
	return series.NewSink(c.series(), settings, next, report)
}

func newLogsSink(c *Config, settings sink.Settings, next consumer.Logs, report *receiverhelper.ObsReport) agent.Sink {
	return accesslog.NewSink(&c.AccessLog, settings, next, report)
}

func newTracesSink(c *Config, settings sink.Settings, next consumer.Traces, report *receiverhelper.ObsReport) agent.Sink {
	config := spans.Config{TCPInfo: c.AccessLog.TCPInfo, QueueBytes: c.AccessLog.QueueBytes()}
	return spans.NewSink(config, settings, next, report)
}

// SignalsConfig has the sections that belong to one signal.
type SignalsConfig struct {
	AccessLog accesslog.Config `mapstructure:"access_log"`
}

func newDefaultSignalsConfig() SignalsConfig {
	return SignalsConfig{AccessLog: accesslog.NewDefaultConfig()}
}

func (c *SignalsConfig) checkSignals() error { return c.AccessLog.Check() }
