// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
)

// Settings are what the user configured, and where the signals go. The receiver's README.md describes the keys.
type Settings struct {
	HostName string
	NodeName string // of the Kubernetes node, as the environment has it; empty: unknown
	Logger   *zap.Logger
	// Resource and InstrumentationScope are those of everything that is emitted.
	Resource             pcommon.Resource
	InstrumentationScope pcommon.InstrumentationScope
	// Status gets the error of a part of the agent, and nil when the part recovers. It may be called from several goroutines,
	// and repeat itself.
	Status func(part string, err error)

	// Signals are those that have a pipeline. Each flow goes to their sinks in this order.
	Signals []Signal

	CollectionInterval time.Duration
	Identity           IdentitySettings
	Scope              string // ScopeKnown, ScopeAll, or empty: what suits the source
	SidecarHops        bool   // connections between a workload and the proxy in its network namespace are reported, too
	IncludeLoopback    bool
	Exclude            []naming.Rule
	MaxConnections     int // ends that are followed at once; 0: DefaultMaxConnections
	CgroupPath         string
	TraceSalt          string // empty: trace ids are those of the contract
}

// DefaultMaxConnections bounds the connection ends that are followed at once: what the programs are compiled with.
const DefaultMaxConnections = 1 << 18

// IdentitySettings are where the names of the ends come from.
type IdentitySettings struct {
	Name           string // of the source, for the log
	Source         identity.SourceConfig
	Settle, Retain time.Duration
	Networks       *identity.Networks // nil: none
}

// The scopes, as users write them.
const (
	ScopeKnown = "known"
	ScopeAll   = "all"
)

// naming returns the settings of naming.
func (s *Settings) naming() naming.Settings {
	n := naming.Settings{Scope: s.scope(), Exclude: s.Exclude, Settle: s.Identity.Settle, Networks: s.Identity.Networks}
	if s.Identity.Source.Capabilities().Services {
		n.NodeName, n.Local, n.Hops, n.Node = s.NodeName, newLocals().has, naming.OmitHops, identity.OwnNetns()
		if s.SidecarHops {
			n.Hops = naming.ReportHops
		}
	} else {
		n.PairLimit = -1 // a process at both ends is found by their addresses
	}
	return n
}

// scope returns which connections count. A host's processes talk to anybody; users of a mesh ask about its workloads.
func (s *Settings) scope() naming.Scope {
	switch {
	case s.Scope == ScopeAll:
		return naming.ScopeAll
	case s.Scope == ScopeKnown:
		return naming.ScopeKnown
	case s.Identity.Source.Capabilities().Services:
		return naming.ScopeKnown
	default:
		return naming.ScopeAll
	}
}
