// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// create returns what adds a signal's pipeline to the instance of a configuration. R is the collector's interface of a receiver
// of that signal, and C that of its consumer. Signals are kept in the order of the calls of create.
func create[R, C any](all *instances, name string, open newSink[C]) func(context.Context, receiver.Settings, component.Config, C) (R, error) {
	rank := all.signals
	all.signals++
	return func(_ context.Context, settings receiver.Settings, config component.Config, next C) (R, error) {
		i := all.of(config.(*Config))
		one := pipeline{
			rank: rank, signal: name, settings: withoutStacks(settings),
			newSink: func(s sink.Settings, report *receiverhelper.ObsReport) agent.Sink {
				return open(i.config, s, next, report)
			},
		}
		return any(i.add(one)).(R), nil
	}
}

// withoutStacks keeps Go stacks out of the log: the Collector's logger adds one to every error, and ours name a remedy.
func withoutStacks(settings receiver.Settings) receiver.Settings {
	settings.Logger = settings.Logger.WithOptions(zap.AddStacktrace(zap.DPanicLevel))
	return settings
}
