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

const maxQueueLimitMiB = 1024

// Validate reports all invalid values, each with its key and the remedy.
func (c *Config) Validate() error {
	return errors.Join(
		atLeast("collection_interval", c.CollectionInterval, 100*time.Millisecond),
		atLeast("connection_metrics.min_duration", c.ConnectionMetrics.MinDuration, 0),
		c.AccessLog.validate(),
		c.Identity.validate(),
		c.checkFiles(),
		notEmpty("connection_security_policy", c.ConnectionSecurityPolicy, "`auto`, or the constant value of the label"),
		oneOf("scope", c.Scope, "", agent.ScopeKnown, agent.ScopeAll),
		c.validateSeries(),
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

func (c *Config) validateSeries() error {
	var errs []error
	if c.AggregationCardinalityLimit < 2 {
		errs = append(errs, fmt.Errorf("aggregation_cardinality_limit is %d: it must be at least 2, as one is the overflow series", c.AggregationCardinalityLimit))
	}
	if c.SeriesExpiration < 2*c.CollectionInterval {
		errs = append(errs, fmt.Errorf("series_expiration is %s: it must be at least twice collection_interval (%s), or series end between two flushes",
			c.SeriesExpiration, c.CollectionInterval))
	}
	return errors.Join(errs...)
}

func (c *AccessLogConfig) validate() error {
	var errs []error
	for _, event := range c.Events {
		errs = append(errs, oneOf("access_log.events", event, agent.EventClosed, agent.EventFailed, agent.EventOpened, agent.EventPeriodic))
	}
	errs = append(errs, atLeast("access_log.period", c.Period, 100*time.Millisecond))
	if c.QueueLimitMiB < 1 || c.QueueLimitMiB > maxQueueLimitMiB {
		errs = append(errs, fmt.Errorf("access_log.queue_limit_mib is %d: it must be 1 to %d, the default is 32", c.QueueLimitMiB, maxQueueLimitMiB))
	}
	return errors.Join(errs...)
}

func (c *IdentityConfig) validate() error {
	errs := []error{
		oneOf("identity.source", c.Source, sources.Names()...),
		atLeast("identity.settle", c.Settle, 0),
		atLeast("identity.retain", c.Retain, 0),
	}
	if c.Retain > 10*time.Minute {
		errs = append(errs, fmt.Errorf("identity.retain is %s: it must be at most 10m, because an address is used again by then, and removed workloads take memory", c.Retain))
	}
	if c.Settle > time.Minute {
		errs = append(errs, fmt.Errorf("identity.settle is %s: it must be at most 1m, because records wait in memory", c.Settle))
	}
	if c.UnknownDestinationsLimit < 0 {
		errs = append(errs, fmt.Errorf("identity.unknown_destinations_limit is %d: it must be at least 0 (no addresses)", c.UnknownDestinationsLimit))
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

func atLeast(key string, value, least time.Duration) error {
	if value >= least {
		return nil
	}
	return fmt.Errorf("%s is %s: it must be at least %s", key, value, least)
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
