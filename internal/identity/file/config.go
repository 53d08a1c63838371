// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Config is the configuration of the source `file`.
type Config struct {
	// Path of the identity file.
	Path string `mapstructure:"path"`
}

// NewDefaultConfig returns the configuration that applies where the user writes none.
func NewDefaultConfig() *Config { return &Config{Path: "identity.yaml"} }

// Validate implements identity.SourceConfig.
func (c *Config) Validate() error {
	if c.Path == "" {
		return errors.New("identity.file.path is empty: write the path of the identity file")
	}
	return nil
}

// CheckFiles implements identity.FilesConfig.
func (c *Config) CheckFiles() error {
	if c.Path == "" {
		return nil
	}
	return check(c.Path)
}

// Capabilities implements identity.SourceConfig.
func (*Config) Capabilities() identity.Capabilities {
	return identity.Capabilities{Services: true, Lists: true}
}

// NewSource implements identity.SourceConfig.
func (c *Config) NewSource(settings identity.SourceSettings) (identity.Source, error) {
	return New(c, settings), nil
}
