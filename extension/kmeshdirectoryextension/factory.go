// SPDX-License-Identifier: Apache-2.0

package kmeshdirectoryextension

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"

	"github.com/kmesh-net/otelcol-kmesh/extension/kmeshdirectoryextension/internal/metadata"
)

// NewFactory returns the factory of the extension `kmesh_directory`.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

func create(_ context.Context, settings extension.Settings, config component.Config) (extension.Extension, error) {
	return &directoryExtension{config: config.(*Config), settings: settings.TelemetrySettings}, nil
}
