// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !(amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"fmt"
	"runtime"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
)

// instances creates no receiver on this platform.
type instances struct{}

func newInstances() *instances { return nil }

func (*instances) createMetrics(context.Context, receiver.Settings, component.Config, consumer.Metrics) (receiver.Metrics, error) {
	return nil, unsupported()
}

func (*instances) createLogs(context.Context, receiver.Settings, component.Config, consumer.Logs) (receiver.Logs, error) {
	return nil, unsupported()
}

func unsupported() error {
	return fmt.Errorf("the receiver kmesh runs on Linux on amd64 and arm64, this is %s on %s: remove it from this collector's pipelines",
		runtime.GOOS, runtime.GOARCH)
}
