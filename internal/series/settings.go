// SPDX-License-Identifier: Apache-2.0

package series

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// PolicyAuto derives the label of each connection from what secures it; any other SecurityPolicy is written as it is.
const PolicyAuto = "auto"

// Settings are what the user configured; see the receiver's documentation for each.
type Settings struct {
	// Enabled are the names of the metrics that are written. A set is held if one of its metrics is enabled.
	Enabled map[string]bool
	// Attributes are the labels that a set keeps, which CheckAttributes accepts; none: all.
	Attributes map[Set][]string

	// FailureReasons puts why a connect failed into response_flags, in place of CONNECT.
	FailureReasons        bool
	SecurityPolicy        string // connection_security_policy; "" is PolicyAuto
	ConnectionMinDuration time.Duration

	// CardinalityLimit bounds the series of each set, the overflow series included. 0: 50,000.
	CardinalityLimit int
	// UnknownAddresses bounds the addresses in labels of the service and workload set that are there because no known
	// workload has them; `other` stands for the rest. 0: 1,000. Negative: none.
	UnknownAddresses int
	// HistogramSize bounds the buckets of a histogram of the latency set. 0: 80.
	HistogramSize int
	// InitialZero lets a series start with a point of value 0 at its start time.
	InitialZero bool
	// Expiration ends a series that was idle for longer, and of which no connection is open. 0: never.
	Expiration time.Duration
	// Networks are those that name ends; see Sets.EndGone.
	Networks *identity.Networks
}

const (
	defaultCardinalityLimit = 50_000
	defaultUnknownAddresses = 1000
	defaultHistogramSize    = 80
)

func (s Settings) withDefaults() Settings {
	if s.CardinalityLimit <= 0 {
		s.CardinalityLimit = defaultCardinalityLimit
	}
	if s.UnknownAddresses == 0 {
		s.UnknownAddresses = defaultUnknownAddresses
	}
	if s.HistogramSize == 0 {
		s.HistogramSize = defaultHistogramSize
	}
	if s.SecurityPolicy == "" {
		s.SecurityPolicy = PolicyAuto
	}
	return s
}
