// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Scope tells which connections are counted and logged.
type Scope uint8

// The scopes.
const (
	ScopeKnown Scope = iota // at least one end is a known workload
	ScopeAll                // every connection
)

// PolicyAuto lets each connection say what secures it; any other SecurityPolicy is written as it is.
const PolicyAuto = "auto"

// Settings are what the user configured; see the receiver's documentation for each.
type Settings struct {
	Scope          Scope
	SecurityPolicy string // connection_security_policy; "" is PolicyAuto

	// Settle is how long a record waits for an identity that is not known yet.
	Settle time.Duration
	// SettleLimit bounds the records that wait; past it the oldest counts with what is known of it.  0: 65,536.
	SettleLimit int

	ServiceMetrics        bool
	WorkloadMetrics       bool
	ConnectionMetrics     bool
	ConnectionMinDuration time.Duration

	// CardinalityLimit bounds the series of each set, the overflow series included.  0: 50,000.
	CardinalityLimit int
	// Networks name ends that nobody is known to have; nil: none.
	Networks *identity.Networks
	// UnknownAddresses bounds the addresses that the labels of the service and workload set say because nobody is known
	// there; `other` stands for the rest.  0: 1,000.  Negative: none is said.
	UnknownAddresses int
	// SeriesExpiration ends a series that was idle for longer.  0: never.
	SeriesExpiration time.Duration
}

const (
	defaultSettleLimit      = 65_536
	defaultCardinalityLimit = 50_000
	defaultUnknownAddresses = 1000
)

func (s Settings) withDefaults() Settings {
	if s.SettleLimit <= 0 {
		s.SettleLimit = defaultSettleLimit
	}
	if s.CardinalityLimit <= 0 {
		s.CardinalityLimit = defaultCardinalityLimit
	}
	if s.UnknownAddresses == 0 {
		s.UnknownAddresses = defaultUnknownAddresses
	}
	if s.SecurityPolicy == "" {
		s.SecurityPolicy = PolicyAuto
	}
	return s
}
