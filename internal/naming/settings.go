// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
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

// Hops is a rule for connections between a workload and the proxy in its network namespace.
type Hops uint8

// The rules.
const (
	NoHops     Hops = iota // none is recognized: nobody has a proxy
	OmitHops               // they are not reported
	ReportHops             // they are reported, with the workload at both ends
)

// Settings are what the user configured; see the receiver's documentation for each.
type Settings struct {
	Scope Scope
	// Exclude are rules; a connection end that one of them matches is not reported.
	Exclude []Rule
	// Hops is what becomes of connections between a workload and the proxy in its network namespace.
	Hops Hops
	// Node is the node's own network namespace, in which nothing is a hop: NAT may lead there from a pod, to a loopback address.
	Node identity.Netns
	// Settle is how long a record waits for an identity that is not known yet.
	Settle time.Duration
	// SettleLimit bounds the records that wait; past it the oldest counts with what is known of it. 0: 65,536.
	SettleLimit int
	// NodeName is the Kubernetes node's that this is; empty: unknown.
	NodeName string
	// Local returns whether this node has an address; nil: none is known to be its own.
	Local func(netip.Addr) bool
	// PairLimit bounds the connections of which what one end knows is kept for the other; 0: 65,536. Negative: none.
	PairLimit int
	// Networks name ends that no known workload has; nil: none.
	Networks *identity.Networks
}

const (
	defaultSettleLimit = 65_536
	defaultPairLimit   = 65_536
)

func (s Settings) withDefaults() Settings {
	if s.SettleLimit <= 0 {
		s.SettleLimit = defaultSettleLimit
	}
	if s.PairLimit == 0 {
		s.PairLimit = defaultPairLimit
	}
	if s.Local == nil {
		s.Local = func(netip.Addr) bool { return false }
	}
	return s
}
