// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"errors"
	"fmt"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/check"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

// Upper bounds, beyond which a value is a slip: memory and time grow with each.
const (
	maxCardinalityLimit         = 1_000_000
	maxMaxConnections           = 1 << 24 // each takes memory from the start
	maxUnknownDestinationsLimit = 100_000
	maxInterval                 = time.Hour
	maxSettle                   = time.Minute
	maxRetain                   = 10 * time.Minute // an address is used again by then
	maxHistogramSize            = 1000             // backends refuse histograms with more buckets
)

// minMaxConnections leaves each of the maps that share the entries some dozens.
const minMaxConnections = 1024

// Validate reports all invalid values, each with its key and the remedy.
func (c *Config) Validate() error {
	_, err := agent.NewExclude(c.Exclude)
	return errors.Join(
		err,
		check.Within("collection_interval", c.CollectionInterval, 100*time.Millisecond, maxInterval),
		check.Within("connection_metrics.min_duration", c.ConnectionMetrics.MinDuration, 0, check.MaxDuration),
		c.checkSignals(),
		c.Identity.validate(),
		c.checkFiles(),
		check.NotEmpty("connection_security_policy", c.ConnectionSecurityPolicy, "`auto`, or the constant value of the label"),
		check.OneOf("scope", c.Scope, "", agent.ScopeKnown, agent.ScopeAll),
		c.validateSeries(),
		c.validateConnections(),
		c.validateSets(),
		check.OneOf("error_mode", c.ErrorMode, errorModePropagate, errorModeIgnore),
	)
}

// checkFiles finds files that are missing, unless the collector is to go on without the receiver then.
func (c *Config) checkFiles() error {
	if c.ErrorMode == errorModeIgnore || c.Identity.Source == sources.Auto {
		return nil
	}
	if source, ok := c.Identity.Sources[c.Identity.Source].(identity.FilesConfig); ok {
		return source.CheckFiles()
	}
	return nil
}

func (c *Config) validateConnections() error {
	if c.MaxConnections < minMaxConnections || c.MaxConnections > maxMaxConnections {
		return fmt.Errorf("max_connections is %d: it must be %d to %d, the default is %d",
			c.MaxConnections, minMaxConnections, maxMaxConnections, agent.DefaultMaxConnections)
	}
	return nil
}

func (c *Config) validateSeries() error {
	var errs []error
	for set, names := range c.attributes() {
		if err := series.CheckAttributes(set, names); err != nil {
			errs = append(errs, fmt.Errorf("%s_metrics.attributes: %w", set, err))
		}
	}
	if size := c.LatencyMetrics.MaxSize; size < 2 || size > maxHistogramSize {
		errs = append(errs, fmt.Errorf("latency_metrics.max_size is %d: it must be 2 to %d, the default is 80", size, maxHistogramSize))
	}
	if c.AggregationCardinalityLimit < 2 || c.AggregationCardinalityLimit > maxCardinalityLimit {
		errs = append(errs, fmt.Errorf("aggregation_cardinality_limit is %d: it must be 2 to %d; one is the overflow series",
			c.AggregationCardinalityLimit, maxCardinalityLimit))
	}
	errs = append(errs, check.Within("series_expiration", c.SeriesExpiration, 0, check.MaxDuration))
	if c.SeriesExpiration < 2*c.CollectionInterval {
		errs = append(errs, fmt.Errorf("series_expiration is %s: it must be at least twice collection_interval (%s), or series end between two flushes",
			c.SeriesExpiration, c.CollectionInterval))
	}
	return errors.Join(errs...)
}

// validateSets rejects a set that is switched on by one key and off by the others.
func (c *Config) validateSets() error {
	on := make(map[series.Set]bool)
	sets := metricSets()
	for name := range c.enabledMetrics() {
		on[sets[name]] = true
	}
	var errs []error
	for _, set := range []struct {
		key     string
		set     series.Set
		enabled bool
	}{
		{"workload_metrics", series.Workload, c.WorkloadMetrics.Enabled},
		{"connection_metrics", series.Connection, c.ConnectionMetrics.Enabled},
		{"istio_metrics", series.Istio, c.IstioMetrics.Enabled},
	} {
		if set.enabled && !on[set.set] {
			errs = append(errs, fmt.Errorf("%[1]s is enabled, but metrics disables each metric of that set: leave one enabled, or disable %[1]s", set.key))
		}
	}
	return errors.Join(errs...)
}

func (c *IdentityConfig) validate() error {
	errs := []error{
		check.OneOf("identity.source", c.Source, sources.Names()...),
		check.Within("identity.settle", c.Settle, 0, maxSettle),
		check.Within("identity.retain", c.Retain, 0, maxRetain),
	}
	if c.UnknownDestinationsLimit < 0 || c.UnknownDestinationsLimit > maxUnknownDestinationsLimit {
		errs = append(errs, fmt.Errorf("identity.unknown_destinations_limit is %d: it must be 0 (no addresses) to %d",
			c.UnknownDestinationsLimit, maxUnknownDestinationsLimit))
	}
	_, err := agent.NewNetworks(c.Networks)
	errs = append(errs, err)
	for _, name := range sources.Candidates(c.Source) {
		if source, known := c.Sources[name]; known {
			errs = append(errs, source.Validate())
		}
	}
	return errors.Join(errs...)
}
