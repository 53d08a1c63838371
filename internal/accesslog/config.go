// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/check"
	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/fields"
)

// Config is the section `access_log`: the events that become records, and what a record has.
type Config struct {
	// Events are of closed, failed, opened, periodic.
	Events []string `mapstructure:"events"`
	// Period is that of `periodic`.
	Period time.Duration `mapstructure:"period"`
	// Aggregate is how long closed and opened connections of a flow are added up to one record; 0: each has its own.
	Aggregate time.Duration `mapstructure:"aggregate"`
	// Body writes the record's fields as a line, too.
	Body bool `mapstructure:"body"`
	// TCPInfo adds the kernel's further figures of the socket, to spans too.
	TCPInfo bool `mapstructure:"tcp_info"`
	// QueueLimitMiB bounds the memory of the records that wait for the next consumer.
	QueueLimitMiB int `mapstructure:"queue_limit_mib"`
}

const (
	mebibyte         = 1 << 20
	maxQueueLimitMiB = 1024
	maxAggregate     = 10 * time.Minute
)

// NewDefaultConfig returns the configuration that applies where the user writes none.
func NewDefaultConfig() Config {
	return Config{
		Events:        []string{fields.Closed.String(), fields.Failed.String()},
		Period:        5 * time.Second,
		Body:          true,
		QueueLimitMiB: delivery.DefaultQueueBytes / mebibyte,
	}
}

// Check reports everything that is wrong, each with its key and the remedy.
func (c *Config) Check() error {
	var errs []error
	for i, event := range c.Events {
		if slices.Contains(c.Events[:i], event) {
			errs = append(errs, fmt.Errorf("access_log.events has %q twice: write it once", event))
		}
		errs = append(errs, check.OneOf("access_log.events", event,
			fields.Closed.String(), fields.Failed.String(), fields.Opened.String(), fields.Periodic.String()))
	}
	errs = append(errs, check.Within("access_log.period", c.Period, 100*time.Millisecond, check.MaxDuration))
	if c.Aggregate != 0 {
		errs = append(errs, check.Within("access_log.aggregate", c.Aggregate, time.Second, maxAggregate))
		if slices.Contains(c.Events, fields.Periodic.String()) {
			errs = append(errs, errors.New("access_log.aggregate cannot add up the event periodic, whose totals are since the opening: "+
				"leave periodic out of access_log.events, or aggregate"))
		}
	}
	if c.QueueLimitMiB < 1 || c.QueueLimitMiB > maxQueueLimitMiB {
		errs = append(errs, fmt.Errorf("access_log.queue_limit_mib is %d: it must be 1 to %d, the default is 32", c.QueueLimitMiB, maxQueueLimitMiB))
	}
	return errors.Join(errs...)
}

// QueueBytes bounds the memory of the records that wait for the next consumer.
func (c *Config) QueueBytes() int { return c.QueueLimitMiB * mebibyte }

func (c *Config) settings() Settings {
	selects := func(event fields.Event) bool { return slices.Contains(c.Events, event.String()) }
	return Settings{
		Closed: selects(fields.Closed), Failed: selects(fields.Failed),
		Opened: selects(fields.Opened), Periodic: selects(fields.Periodic),
		Period: c.Period, Aggregate: c.Aggregate,
		NoBody: !c.Body, TCPInfo: c.TCPInfo,
	}
}
