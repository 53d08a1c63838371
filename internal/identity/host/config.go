// SPDX-License-Identifier: Apache-2.0

package host

import "github.com/kmesh-net/otelcol-kmesh/internal/identity"

// Config is the configuration of the source `host`, which has no keys.
type Config struct{}

// NewDefaultConfig returns the configuration that applies where the user writes none.
func NewDefaultConfig() *Config { return &Config{} }

// Validate implements identity.SourceConfig.
func (*Config) Validate() error { return nil }

// Capabilities implements identity.SourceConfig.
func (*Config) Capabilities() identity.Capabilities { return identity.Capabilities{Processes: true} }

// NewSource implements identity.SourceConfig.
func (*Config) NewSource(settings identity.SourceSettings) (identity.Source, error) {
	return New(settings.HostName), nil
}
