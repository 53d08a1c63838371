// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !(amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"fmt"
	"runtime"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"
)

// instances creates no receiver on this platform.
type instances struct{}

func newInstances() *instances { return nil }

func create[R, C any](*instances, string, newSink[C]) func(context.Context, receiver.Settings, component.Config, C) (R, error) {
	return func(context.Context, receiver.Settings, component.Config, C) (none R, err error) {
		return none, fmt.Errorf("the receiver kmesh runs on Linux on amd64 and arm64, this is %s on %s: remove it from this collector's pipelines",
			runtime.GOOS, runtime.GOARCH)
	}
}
