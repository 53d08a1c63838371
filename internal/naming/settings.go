// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Scope selects the connections that are reported.
type Scope uint8

// The scopes.
const (
	ScopeKnown Scope = iota // at least one end is a known workload
	ScopeAll                // every connection
)

func (s Scope) contains(f *flow.Flow) bool {
	return s == ScopeAll || f.Source.Known() || f.Destination.Known()
}

// Settings are what the user configured; see the receiver's documentation for each.
type Settings struct {
	Scope Scope
	// Exclude are rules; a connection end that one of them matches is not reported.
	Exclude []Rule
	// Settle is how long a record waits for an identity that is not known yet.
	Settle time.Duration
	// SettleLimit bounds the records that wait; past it the oldest counts with what is known of it. 0: 65,536.
	SettleLimit int
	// Networks name ends that no known workload has; nil: none.
	Networks *identity.Networks
}

const defaultSettleLimit = 65_536

func (s Settings) withDefaults() Settings {
	if s.SettleLimit <= 0 {
		s.SettleLimit = defaultSettleLimit
	}
	return s
}
