// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"time"
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Settings are what every sink is given, whatever its own configuration.
type Settings struct {
	// Resource and Scope are copied into every batch, and must not change.
	Resource pcommon.Resource
	Scope    pcommon.InstrumentationScope
	// Pods is true where workloads are pods, and false where they are processes.
	Pods bool
	// Workloads are nil where the source of identities does not list them.
	Workloads Workloads
	// Networks are those that name ends; nil: none.
	Networks *identity.Networks
	// Status gets the error of the next consumer, and nil when it accepts again. It may be called from any goroutine, and
	// repeat itself.
	Status func(error)
	Logger *zap.Logger
}

// Workloads are those that the source of identities lists.
type Workloads interface {
	// Generation changes when a workload comes or goes.
	Generation() uint64
	// Named returns whether a workload has the names, or had them a short while ago.
	Named(names unique.Handle[identity.Names]) bool
}

// Needs are what a sink needs beside the records of connections that changed.
type Needs struct {
	Idle    bool          // idle connections too, at every collection
	First   bool          // idle connections at the first collection
	Recount bool          // idle connections when the kernel hid the end of some
	Period  time.Duration // idle connections once in each period; 0: no
	TCPInfo bool          // the details of tcp_info
	Trace   bool          // the ids that both ends of a connection have in common
}

// Add adds what another sink needs. Of two periods the shorter one counts.
func (n *Needs) Add(other Needs) {
	n.Idle = n.Idle || other.Idle
	n.First = n.First || other.First
	n.Recount = n.Recount || other.Recount
	n.TCPInfo = n.TCPInfo || other.TCPInfo
	n.Trace = n.Trace || other.Trace
	if n.Period == 0 || other.Period > 0 && other.Period < n.Period {
		n.Period = other.Period
	}
}

// BatchSize bounds the records that go to the next consumer at once. They go at every reading, too.
const BatchSize = 1000
