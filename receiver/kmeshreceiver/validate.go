// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
)

// Upper bounds, beyond which a value is a slip: memory and time grow with each.
const (
	maxQueueLimitMiB            = 1024
	maxCardinalityLimit         = 1_000_000
	maxMaxConnections           = 1 << 24 // each takes memory from the start
	maxUnknownDestinationsLimit = 100_000
	maxInterval                 = time.Hour
	maxSettle                   = time.Minute
	maxRetain                   = 10 * time.Minute // an address is used again by then
	maxExpiration               = 7 * 24 * time.Hour
	maxHistogramSize            = 1000 // backends refuse histograms with more buckets
)

// minMaxConnections leaves each of the maps that share the entries some dozens.
const minMaxConnections = 1024

// Validate reports all invalid values, each with its key and the remedy.
func (c *Config) Validate() error {
	_, err := agent.NewExclude(c.Exclude)
	return errors.Join(
		err,
		within("collection_interval", c.CollectionInterval, 100*time.Millisecond, maxInterval),
		within("connection_metrics.min_duration", c.ConnectionMetrics.MinDuration, 0, maxExpiration),
		c.AccessLog.validate(),
		c.Identity.validate(),
		c.checkFiles(),
		notEmpty("connection_security_policy", c.ConnectionSecurityPolicy, "`auto`, or the constant value of the label"),
		oneOf("scope", c.Scope, "", agent.ScopeKnown, agent.ScopeAll),
		c.validateSeries(),
		c.validateConnections(),
		c.validateSets(),
		oneOf("error_mode", c.ErrorMode, errorModePropagate, errorModeIgnore),
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
		if err := agent.CheckAttributes(set, names); err != nil {
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
	errs = append(errs, within("series_expiration", c.SeriesExpiration, 0, maxExpiration))
	if c.SeriesExpiration < 2*c.CollectionInterval {
		errs = append(errs, fmt.Errorf("series_expiration is %s: it must be at least twice collection_interval (%s), or series end between two flushes",
			c.SeriesExpiration, c.CollectionInterval))
	}
	return errors.Join(errs...)
}

// validateSets rejects a set that is switched on by one key and off by the others.
func (c *Config) validateSets() error {
	on := make(map[string]bool)
	sets := agent.MetricSets()
	for name := range c.enabledMetrics() {
		on[sets[name]] = true
	}
	var errs []error
	for _, set := range []struct {
		key, name string
		enabled   bool
	}{
		{"workload_metrics", agent.WorkloadSet, c.WorkloadMetrics.Enabled},
		{"connection_metrics", agent.ConnectionSet, c.ConnectionMetrics.Enabled},
		{"istio_metrics", agent.IstioSet, c.IstioMetrics.Enabled},
	} {
		if set.enabled && !on[set.name] {
			errs = append(errs, fmt.Errorf("%[1]s is enabled, but metrics disables each metric of that set: leave one enabled, or disable %[1]s", set.key))
		}
	}
	return errors.Join(errs...)
}

func (c *AccessLogConfig) validate() error {
	var errs []error
	for i, event := range c.Events {
		if slices.Contains(c.Events[:i], event) {
			errs = append(errs, fmt.Errorf("access_log.events has %q twice: write it once", event))
		}
		errs = append(errs, oneOf("access_log.events", event, agent.EventClosed, agent.EventFailed, agent.EventOpened, agent.EventPeriodic))
	}
	errs = append(errs, within("access_log.period", c.Period, 100*time.Millisecond, maxExpiration))
	if c.QueueLimitMiB < 1 || c.QueueLimitMiB > maxQueueLimitMiB {
		errs = append(errs, fmt.Errorf("access_log.queue_limit_mib is %d: it must be 1 to %d, the default is 32", c.QueueLimitMiB, maxQueueLimitMiB))
	}
	return errors.Join(errs...)
}

func (c *IdentityConfig) validate() error {
	errs := []error{
		oneOf("identity.source", c.Source, sources.Names()...),
		within("identity.settle", c.Settle, 0, maxSettle),
		within("identity.retain", c.Retain, 0, maxRetain),
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

// within returns an error if a duration is outside its bounds, or so short that its unit was forgotten: the number alone is
// in nanoseconds.
func within(key string, value, least, most time.Duration) error {
	switch {
	case value > 0 && value < time.Millisecond:
		return fmt.Errorf("%s is %s: write a unit, e.g. %ds", key, value, value.Nanoseconds())
	case value < least:
		return fmt.Errorf("%s is %s: it must be at least %s", key, value, least)
	case value > most:
		return fmt.Errorf("%s is %s: it must be at most %s", key, value, most)
	}
	return nil
}

func notEmpty(key, value, what string) error {
	if value != "" {
		return nil
	}
	return fmt.Errorf("%s is empty: write %s", key, what)
}

func oneOf(key, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	named := slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" })
	return fmt.Errorf("%s is %q: it must be one of %s", key, value, strings.Join(named, ", "))
}
