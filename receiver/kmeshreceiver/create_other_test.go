// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !(amd64 || arm64)

package kmeshreceiver

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

func TestAnotherPlatformIsRefusedWhenASignalIsCreated(t *testing.T) {
	factory, settings := NewFactory(), receivertest.NewNopSettings(metadata.Type)
	_, metricsError := factory.CreateMetrics(t.Context(), settings, factory.CreateDefaultConfig(), consumertest.NewNop())
	_, logsError := factory.CreateLogs(t.Context(), settings, factory.CreateDefaultConfig(), consumertest.NewNop())
	want := "the receiver kmesh runs on Linux on amd64 and arm64, this is " + runtime.GOOS + " on " + runtime.GOARCH +
		": remove it from this collector's pipelines"
	assert.EqualError(t, metricsError, want)
	assert.EqualError(t, logsError, want)
}
