// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Aggregator names the ends of connections, adds them to series and hands them to the access log.
type Aggregator struct {
	settings Settings
	resolver identity.Resolver
	log      LogSink // nil: no access log
	epoch    time.Time
	// translator is nil when nobody is asked.
	translator Translator

	waiting    queue
	generation uint64 // of the resolver when the waiting records were last tried

	service    set[serviceKey]
	workload   set[workloadKey]
	connection set[connectionKey]
	clock      stamps
	addresses  *addresses

	flow Flow // the one being added: handing out a pointer to it costs no allocation

	counted Counters // all that series were given
	pending Counters // counted, as of the last snapshot
	stats   Stats
}

// LogSink is what comes behind the series. f and what its Connection points to are valid during the call only.
type LogSink interface {
	Add(f *Flow, now time.Time)
}

// New makes an Aggregator.  log may be nil.
func New(settings Settings, resolver identity.Resolver, log LogSink) *Aggregator {
	settings = settings.withDefaults()
	limit, unknowns := settings.CardinalityLimit, newAddresses(settings.UnknownAddresses)
	return &Aggregator{
		settings:   settings,
		resolver:   resolver,
		log:        log,
		epoch:      time.Now(),
		waiting:    newQueue(settings.SettleLimit),
		generation: resolver.Generation(),
		service:    newSet[serviceKey](limit, unknowns),
		workload:   newSet[workloadKey](limit, unknowns),
		connection: newSet[connectionKey](limit, unknowns),
		clock:      stamps{next: 1},
		addresses:  unknowns,
	}
}

// Add names c and counts it, or lets it wait for its identities: a source is a moment behind a new connection, not
// behind an old one.  now is the moment at which c was read.
//
// c is not kept: its owner may use it for the next record.  Its Destination may be changed to what is behind a service's
// address, which is then its Original.  A record whose series is known costs no allocation.
func (a *Aggregator) Add(c *Connection, now time.Time) {
	// Records of one end stay in their order, so one that follows a waiting record waits behind it.
	if !a.waiting.holds(c.ID) {
		a.flow = Flow{Connection: c, Observed: now}
		if a.resolve(&a.flow) || now.Sub(c.Start) >= a.settings.Settle {
			a.account(&a.flow, now)
			return
		}
	}
	if a.waiting.full() {
		a.stats.SettleRefused++
		a.resolveOldest(now)
	}
	a.waiting.push(c, now, now.Add(a.settings.Settle))
}

// account counts a flow whose ends are as well named as they will ever be.
func (a *Aggregator) account(f *Flow, now time.Time) {
	a.nameOutside(f)
	if f.Source == nil {
		a.stats.UnknownSource++
	}
	if f.Destination == nil {
		a.stats.UnknownDestination++
	}
	if !a.inScope(f) {
		a.stats.OutOfScopeRecords++
		a.stats.OutOfScope.Add(f.Connection.Delta)
		return
	}
	a.counted.Add(f.Connection.Delta)
	a.addToSets(f, now)
	if a.log != nil {
		a.log.Add(f, now)
	}
}

// addToSets splits what failed from the rest: a failed connect counts on the series whose response_flags say so.
func (a *Aggregator) addToSets(f *Flow, now time.Time) {
	if a.settings.ConnectionMetrics {
		a.addConnection(f, now)
	}
	delta := f.Connection.Delta
	switch {
	case f.Connection.Event == EventFailed: // its SYNs may have been sent again: that stays with it
		a.addDelta(f, flagConnect, delta, now)
	case delta[Failed] == 0:
		a.addDelta(f, flagNone, delta, now)
	default: // an aggregate of failed and other ends
		a.addDelta(f, flagConnect, Counters{Failed: delta[Failed]}, now)
		delta[Failed] = 0
		a.addDelta(f, flagNone, delta, now)
	}
}

func (a *Aggregator) addDelta(f *Flow, flags responseFlags, delta Counters, now time.Time) {
	if delta == (Counters{}) {
		return // an idle connection must not keep its series alive
	}
	traits := a.traits(f, flags)
	refused := false
	if a.settings.ServiceMetrics {
		said := claim{addresses: a.addresses}
		key := serviceKeyOf(f, traits, &said)
		a.touch(get(&a.service, key, &said, traits, a.settings.SecurityPolicy), delta, now)
		refused = said.refused
	}
	if a.settings.WorkloadMetrics {
		said := claim{addresses: a.addresses}
		key := workloadKeyOf(f, traits, &said)
		a.touch(get(&a.workload, key, &said, traits, a.settings.SecurityPolicy), delta, now)
		refused = refused || said.refused
	}
	if refused {
		a.stats.UnknownAddressesRefused++
	}
}

// touch adds delta to s, which the next snapshot will be the first to hold.
func (a *Aggregator) touch(s *series, delta Counters, now time.Time) {
	if s.start == 0 {
		s.start = a.clock.begin(now)
	}
	s.sum.Add(delta)
	s.fresh = a.clock.next
	s.active = now.Sub(a.epoch)
}
