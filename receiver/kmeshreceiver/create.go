// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
)

func (s *instances) createMetrics(_ context.Context, settings receiver.Settings, config component.Config, next consumer.Metrics) (receiver.Metrics, error) {
	i := s.of(config.(*Config))
	i.metrics = &pipeline[consumer.Metrics]{withoutStacks(settings), next}
	return i.signal(runner.StopMetrics), nil
}

func (s *instances) createLogs(_ context.Context, settings receiver.Settings, config component.Config, next consumer.Logs) (receiver.Logs, error) {
	i := s.of(config.(*Config))
	i.logs = &pipeline[consumer.Logs]{withoutStacks(settings), next}
	return i.signal(runner.StopLogs), nil
}

func (s *instances) createTraces(_ context.Context, settings receiver.Settings, config component.Config, next consumer.Traces) (receiver.Traces, error) {
	i := s.of(config.(*Config))
	i.traces = &pipeline[consumer.Traces]{withoutStacks(settings), next}
	return i.signal(runner.StopTraces), nil
}
