// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Sink is a stage behind naming.
type Sink interface {
	// Add may keep neither f nor what its Connection points to. now is when the flow is passed on, which is after
	// f.Observed if it waited.
	Add(f *flow.Flow, now time.Time)
}

// Translator knows what NAT does to the packets after they left the socket.
type Translator interface {
	// Translate returns where the packets of a connection go whose socket has the two addresses; end is the Connection's
	// ID. It may be called for the same end again, and should return the same. False: as the socket has it, as far as is
	// known.
	Translate(end uint64, source, destination netip.AddrPort) (to netip.AddrPort, ok bool)
}

// Namer names the ends of connections. It is not safe for concurrent use.
type Namer struct {
	settings   Settings
	resolver   identity.Resolver
	asker      identity.Asker // nil: the resolver knows all addresses, those of old connections too
	translator Translator     // nil: none
	sinks      []Sink

	waiting    queue
	generation uint64 // of the resolver when the waiting records were last resolved

	flow  flow.Flow // the one at hand: a pointer to it costs no allocation
	stats Stats
}

// Stats are numbers for self telemetry; all but Waiting are totals.
type Stats struct {
	Waiting       int    // records that wait for an identity
	SettleExpired uint64 // records that waited in vain
	SettleRefused uint64 // records that were passed on early, because too many waited

	// Lookups that ended unknown, by side.
	UnknownSource, UnknownDestination uint64

	// Impostors are records of ends that have the address of a workload, in a network namespace that is not the workload's.
	Impostors uint64

	OutOfScopeRecords uint64
	OutOfScope        flow.Counters // what those records would have counted
	Excluded          flow.Counters // what records would have counted that a rule excludes
}

// New returns a Namer that passes each flow to the sinks, in their order. translator is asked about ends that connected
// to a service's address which no workload has; it may be nil.
func New(settings Settings, resolver identity.Resolver, translator Translator, sinks ...Sink) *Namer {
	settings = settings.withDefaults()
	return &Namer{
		settings:   settings,
		resolver:   resolver,
		asker:      identity.AskerOf(resolver),
		translator: translator,
		sinks:      sinks,
		waiting:    newQueue(settings.SettleLimit),
		generation: resolver.Generation(),
	}
}

// Remove ends the flows to a sink.
func (n *Namer) Remove(sink Sink) {
	n.sinks = slices.DeleteFunc(slices.Clone(n.sinks), func(s Sink) bool { return s == sink })
}

// Add names c and passes it on, or lets it wait for its identities: a source is a moment behind a new connection, not
// behind an old one, unless it asks for addresses when they are met. now is the moment at which c was read.
//
// c is not kept: its owner may use it for the next record. Its Destination may be changed to what is behind a service's
// address, which is then its Original. A record that need not wait costs no allocation.
func (n *Namer) Add(c *flow.Connection, now time.Time) {
	old := n.asker == nil && now.Sub(c.Start) >= n.settings.Settle
	// Records of one end stay in their order. What waits for the end of an old connection is old, too.
	if old && n.waiting.holds(c.ID) {
		n.passEnd(c.ID, now)
	}
	if !n.waiting.holds(c.ID) {
		n.flow = flow.Flow{Connection: c, Observed: now}
		if n.resolve(&n.flow) || old {
			n.pass(&n.flow, now)
			return
		}
	}
	if n.waiting.full() {
		n.stats.SettleRefused++
		n.passOldest(now)
	}
	n.waiting.push(c, now, now.Add(n.settings.Settle))
}

// pass hands a flow to the sinks whose ends are as well named as they will ever be.
func (n *Namer) pass(f *flow.Flow, now time.Time) {
	if n.impostor(f) {
		n.stats.Impostors++
	}
	n.nameOutside(f)
	if f.Source == nil {
		n.stats.UnknownSource++
	}
	if f.Destination == nil {
		n.stats.UnknownDestination++
	}
	if !n.settings.Scope.contains(f) {
		n.stats.OutOfScopeRecords++
		n.stats.OutOfScope.Add(f.Connection.Delta)
		return
	}
	if n.excluded(f) {
		n.stats.Excluded.Add(f.Connection.Delta)
		return
	}
	for _, sink := range n.sinks {
		sink.Add(f, now)
	}
}

// Settle passes on the waiting records whose identities came, and those that waited long enough. Call it regularly, at
// least once before each snapshot of the series.
func (n *Namer) Settle(now time.Time) {
	for n.waiting.len() > 0 && !now.Before(n.waiting.oldest().deadline) {
		n.expire(n.passOldest(now))
	}
	generation := n.resolver.Generation()
	if generation == n.generation {
		return // nobody came or went: the answers would be the same
	}
	n.generation = generation
	n.waiting.sweep(func(w *waiting) bool {
		n.flow = flow.Flow{Connection: &w.connection, Observed: w.observed}
		if !n.resolve(&n.flow) {
			return false
		}
		n.pass(&n.flow, now)
		return true
	})
}

// Drain passes on all waiting records with what is known of them now: for the last snapshot before the end.
func (n *Namer) Drain(now time.Time) {
	for n.waiting.len() > 0 {
		n.passOldest(now)
	}
}

// passOldest passes on the record that waits longest; false when not all is known of it.
func (n *Namer) passOldest(now time.Time) (settled bool) {
	settled = n.passWaiting(n.waiting.oldest(), now)
	n.waiting.pop()
	return settled
}

// passEnd passes on the records that wait for an end whose connection is old.
func (n *Namer) passEnd(id uint64, now time.Time) {
	n.waiting.take(id, func(w *waiting) { n.expire(n.passWaiting(w, now)) })
}

// passWaiting passes on a record with what is known of it; false when that is not all.
func (n *Namer) passWaiting(w *waiting, now time.Time) (settled bool) {
	n.flow = flow.Flow{Connection: &w.connection, Observed: w.observed}
	settled = n.resolve(&n.flow)
	n.pass(&n.flow, now)
	n.flow = flow.Flow{} // it points into the queue
	return settled
}

func (n *Namer) expire(settled bool) {
	if !settled {
		n.stats.SettleExpired++
	}
}

// Stats returns the current numbers.
func (n *Namer) Stats() Stats {
	s := n.stats
	s.Waiting = n.waiting.len()
	return s
}
