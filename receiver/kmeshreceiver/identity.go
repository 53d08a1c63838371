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

// IdentityConfig is the section `identity`: where the names of the ends come from.
type IdentityConfig struct {
	// Source is the name of a source, or auto.
	Source string `mapstructure:"source"`
	// Sources has the section of each source under the source's name. A section counts only where Source selects it.
	Sources map[string]identity.SourceConfig `mapstructure:"-"`
	// Settle is how long a record waits for an identity that is not known yet.
	Settle time.Duration `mapstructure:"settle"`
	// Retain is how long a removed workload still answers for its last connections.
	Retain time.Duration `mapstructure:"retain"`
	// Networks name ends that no workload has.
	Networks []agent.NetworkConfig `mapstructure:"networks"`
	// UnknownDestinationsLimit bounds the addresses of unknown ends in labels; 0: none.
	UnknownDestinationsLimit int `mapstructure:"unknown_destinations_limit"`
}

var _ confmap.Marshaler = IdentityConfig{}

// takeSections takes the sources' sections out of the receiver's configuration, and has each source read its own.
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

// source returns the selected source's section. Validate has found out that there is one.
func (c *IdentityConfig) source() identity.SourceConfig {
	return c.Sources[sources.Select(c.Source)]
}
