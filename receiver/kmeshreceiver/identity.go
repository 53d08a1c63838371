// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/collector/confmap"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
)

// IdentityConfig is the section `identity`: the source of the names, and how it is used.
type IdentityConfig struct {
	// Source is the name of a source, or auto.
	Source string `mapstructure:"source"`
	// Sources has the section of each source by name. Only the section of the selected source is used.
	Sources map[string]identity.SourceConfig `mapstructure:"-"`
	// Settle is how long a record waits for an identity that is not known yet.
	Settle time.Duration `mapstructure:"settle"`
	// Retain is how long a removed workload still names its last connections.
	Retain time.Duration `mapstructure:"retain"`
	// Networks name address ranges without workloads.
	Networks []agent.NetworkConfig `mapstructure:"networks"`
	// UnknownDestinationsLimit bounds the addresses without a workload in labels; 0: no such address is a label.
	UnknownDestinationsLimit int `mapstructure:"unknown_destinations_limit"`
}

var _ confmap.Marshaler = IdentityConfig{}

// takeSections removes the sources' sections from the receiver's configuration, and unmarshals each into its source.
func (c *IdentityConfig) takeSections(conf *confmap.Conf) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		key := "identity" + confmap.KeyDelimiter + name
		if !conf.IsSet(key) {
			continue
		}
		section, err := conf.Sub(key)
		if err == nil {
			err = section.Unmarshal(c.Sources[name])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("identity.%s: %w", name, err))
		}
		conf.Delete(key)
	}
	return errors.Join(errs...)
}

// Marshal implements confmap.Marshaler.
func (c IdentityConfig) Marshal(conf *confmap.Conf) error {
	if err := conf.Marshal(c); err != nil {
		return err
	}
	for name, source := range c.Sources {
		section := confmap.New()
		if err := section.Marshal(source); err != nil {
			return fmt.Errorf("identity.%s: %w", name, err)
		}
		if keys := section.ToStringMap(); len(keys) > 0 {
			if err := conf.Merge(confmap.NewFromStringMap(map[string]any{name: keys})); err != nil {
				return err
			}
		}
	}
	return nil
}

// source returns the section of the selected source. Validate ensures that there is one.
func (c *IdentityConfig) source() identity.SourceConfig {
	return c.Sources[sources.Select(c.Source)]
}
