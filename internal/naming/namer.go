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
	pairs      pairs
	redirects  redirects
	woken      []uint64 // ends whose waiting records may know all now
	held       held     // what is known of the pair of the record at hand
	joined     bool     // the record at hand was named with what the other end knew
	generation uint64   // of the resolver when the waiting records were last resolved

	flow  flow.Flow // the one at hand: a pointer to it costs no allocation
	stats Stats
}

// Stats are numbers for self telemetry; all but Waiting are totals.
type Stats struct {
	Waiting       int    // records that wait for an identity
	SettleExpired uint64 // records that waited in vain
	SettleRefused uint64 // records that were passed on early, because too many waited

	Pairs          int    // connections of which what one end knows is kept for the other
	PairsForgotten uint64 // of these, for want of room
	Joined         uint64 // records that were named with what the other end knew
	Unpaired       uint64 // records that waited for the other end in vain

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
		pairs:      newPairs(settings.PairLimit),
		redirects:  newRedirects(),
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
	// Records of one end stay in their order. What waits for the end of an old connection is old, too.
	if n.waiting.holds(c.ID) && n.isOld(c, now) && !n.pairs.waits(c, now.UnixNano()) {
		n.passEnd(c.ID, now)
	}
	if !n.waiting.holds(c.ID) {
		n.flow = flow.Flow{Connection: c, Observed: now}
		if n.ready(&n.flow) {
			n.pass(&n.flow, now)
			n.wake(now)
			return
		}
	}
	if n.waiting.full() {
		n.stats.SettleRefused++
		n.passOldest(now, false)
	}
	n.waiting.push(c, now, now.Add(n.settings.Settle))
	n.wake(now)
}

// isOld returns whether the source of identities knew all that it will know of a connection before the record was read.
func (n *Namer) isOld(c *flow.Connection, observed time.Time) bool {
	return n.asker == nil && observed.Sub(c.Start) >= n.settings.Settle
}

// ready returns whether nothing is gained by waiting.
func (n *Namer) ready(f *flow.Flow) bool {
	settled, paired := n.resolve(f)
	ready := (settled || n.isOld(f.Connection, f.Observed)) && paired
	if !ready {
		n.pairs.keep(&n.held)
	}
	return ready
}

// pass hands a flow to the sinks whose ends are as well named as they will ever be.
func (n *Namer) pass(f *flow.Flow, now time.Time) {
	n.pairs.pass(&n.held, f.Connection)
	if n.joined {
		n.stats.Joined++
	}
	if f.Hop && n.settings.Hops == OmitHops {
		n.stats.Excluded.Add(f.Connection.Delta)
		return
	}
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

// passReady passes on a waiting record if nothing is gained by waiting on.
func (n *Namer) passReady(w *waiting, now time.Time) bool {
	n.flow = flow.Flow{Connection: &w.connection, Observed: w.observed}
	ready := n.ready(&n.flow)
	if ready {
		n.pass(&n.flow, now)
	}
	n.flow = flow.Flow{} // it points into the queue
	return ready
}

// Settle passes on the waiting records whose identities came, and those that waited long enough. Call it regularly, at
// least once before each snapshot of the series.
func (n *Namer) Settle(now time.Time) {
	for n.waiting.len() > 0 && !now.Before(n.waiting.oldest().deadline) {
		n.passOldest(now, true)
		n.wake(now)
	}
	generation := n.resolver.Generation()
	if generation == n.generation {
		return // nobody came or went: the answers would be the same
	}
	n.generation = generation
	n.waiting.sweep(func(w *waiting) bool { return n.passReady(w, now) })
	n.wake(now)
}

// Drain passes on all waiting records with what is known of them now: for the last snapshot before the end.
func (n *Namer) Drain(now time.Time) {
	for n.waiting.len() > 0 {
		n.passOldest(now, false)
	}
}

// passOldest passes on the record that waits longest; expired says that it waited long enough.
func (n *Namer) passOldest(now time.Time, expired bool) {
	n.passWaiting(n.waiting.oldest(), now, expired)
	n.waiting.pop()
}

// passEnd passes on the records that wait for an end whose connection is old.
func (n *Namer) passEnd(id uint64, now time.Time) {
	n.waiting.take(id, func(w *waiting) { n.passWaiting(w, now, true) })
}

// passWaiting passes on a record with what is known of it.
func (n *Namer) passWaiting(w *waiting, now time.Time, expired bool) {
	n.flow = flow.Flow{Connection: &w.connection, Observed: w.observed}
	settled, paired := n.resolve(&n.flow)
	switch {
	case expired && !settled:
		n.stats.SettleExpired++
	case expired && !paired:
		n.stats.Unpaired++
		n.redirects.left(&w.connection)
	}
	n.pass(&n.flow, now)
	n.flow = flow.Flow{} // it points into the queue
}

// Stats returns the current numbers.
func (n *Namer) Stats() Stats {
	s := n.stats
	s.Waiting = n.waiting.len()
	s.Pairs, s.PairsForgotten = n.pairs.len(), n.pairs.forgotten
	return s
}
