// SPDX-License-Identifier: Apache-2.0

package series

import (
	"strings"
	"time"
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// Sets holds the series of the sets that are enabled. It is not safe for concurrent use; a Snapshot of it is.
type Sets struct {
	settings Settings
	format   *format
	epoch    time.Time
	began    time.Time // an end that was last reported before is new here

	service    set[serviceKey]
	workload   set[workloadKey]
	connection set[connectionKey]
	istio      set[serviceKey]
	latency    set[serviceKey]
	topology   bool // a set shows where the ends are
	clock      stamps
	addresses  *addresses // in the labels of the service and workload set
	// reasons are response_flags by error.type, so that a record costs no allocation.
	reasons map[string]unique.Handle[string]

	counted flow.Counters // all that series were given
	pending flow.Counters // counted, as of the last snapshot
	stats   sink.Series

	recount recount
}

// New returns sets without series. Resource and scope are copied into every batch, and must not change.
func New(settings Settings, resource pcommon.Resource, scope pcommon.InstrumentationScope) *Sets {
	settings = settings.withDefaults()
	limit, unknown := settings.CardinalityLimit, newAddresses(settings.UnknownAddresses)
	labels := func(set Set) *choice { return newChoice(set, settings.Attributes[set]) }
	made := &Sets{
		settings: settings,
		format: &format{
			resource: resource, scope: scope,
			service:    enabled(serviceMetrics, settings.Enabled),
			workload:   enabled(workloadMetrics, settings.Enabled),
			connection: enabled(connectionMetrics, settings.Enabled),
			istio:      enabled(istioMetrics, settings.Enabled),
			latency:    enabledLatency(settings.Enabled),
		},
		epoch:      time.Now(),
		service:    newSet[serviceKey](labels(Service), limit, unknown),
		workload:   newSet[workloadKey](labels(Workload), limit, unknown),
		connection: newSet[connectionKey](labels(Connection), limit, unknown),
		began:      time.Now(),
		istio:      newSet[serviceKey](labels(Istio), limit, unknown),
		latency:    newSet[serviceKey](labels(Latency), limit, unknown),
		clock:      stamps{next: 1},
		addresses:  unknown,
		reasons:    make(map[string]unique.Handle[string]),
	}
	for _, c := range []*choice{made.service.choice, made.workload.choice, made.connection.choice, made.istio.choice, made.latency.choice} {
		made.topology = made.topology || c.labels&optionalLabels != 0
	}
	return made
}

// Holds returns whether a metric of the set is enabled.
func (s *Sets) Holds(set Set) bool {
	switch set {
	case Service:
		return len(s.format.service) > 0
	case Workload:
		return len(s.format.workload) > 0
	case Istio:
		return len(s.format.istio) > 0
	case Latency:
		return len(s.format.latency) > 0
	default:
		return len(s.format.connection) > 0
	}
}

// Add adds a flow to the series of each set, and does not keep it. A flow whose series exist costs no allocation.
//
// It splits what failed from the rest: a failed connect counts in the series whose response_flags report it.
func (s *Sets) Add(f *flow.Flow, now time.Time) {
	delta := f.Connection.Delta
	s.recount.sight = s.recount.of(f.Connection)
	s.counted.Add(delta)
	if s.Holds(Connection) {
		s.addConnection(f, now)
	}
	if s.Holds(Latency) {
		s.addLatency(f, now)
	}
	switch {
	case f.Connection.Event == flow.EventFailed: // its SYNs may have been sent again: that stays with it
		s.addDelta(f, s.failureFlags(f.Connection), delta, now)
	case delta[flow.Failed] == 0:
		s.addDelta(f, noFlags, delta, now)
	default: // an aggregate of failed and other ends
		s.addDelta(f, s.failureFlags(f.Connection), flow.Counters{flow.Failed: delta[flow.Failed]}, now)
		delta[flow.Failed] = 0
		s.addDelta(f, noFlags, delta, now)
	}
}

func (s *Sets) addDelta(f *flow.Flow, flags unique.Handle[string], delta flow.Counters, now time.Time) {
	if delta == (flow.Counters{}) { // an idle connection must not keep its series alive
		if s.recount.sight == sightOpen {
			s.see(f)
		}
		return
	}
	all := s.traits(f, flags)
	owner := ownerOf(f)
	refused := false
	if s.Holds(Service) {
		traits, reserved := s.service.choice.reduce(all), reservation{addresses: s.addresses, owner: owner}
		key := serviceKeyOf(f, traits, s.service.choice, &reserved)
		s.touch(get(&s.service, key, &reserved, traits, s.settings.SecurityPolicy), delta, now)
		refused = reserved.refused
	}
	if s.Holds(Workload) {
		traits, reserved := s.workload.choice.reduce(all), reservation{addresses: s.addresses, owner: owner}
		key := workloadKeyOf(f, traits, s.workload.choice, &reserved)
		s.touch(get(&s.workload, key, &reserved, traits, s.settings.SecurityPolicy), delta, now)
		refused = refused || reserved.refused
	}
	if s.Holds(Istio) {
		traits, none := s.istio.choice.reduce(istioTraits(all, f.Connection)), reservation{owner: owner}
		key := serviceKeyOf(f, traits, s.istio.choice, &none)
		s.touch(get(&s.istio, key, &none, traits, s.settings.SecurityPolicy), istioDelta(delta, f.Connection.Direction), now)
	}
	if refused {
		s.stats.UnknownAddressesRefused++
	}
}

// touch adds delta to a series.
func (s *Sets) touch(one *series, delta flow.Counters, now time.Time) {
	s.use(one, now)
	one.sum.Add(delta)
	s.countOpen(one, delta[flow.Opened], delta[flow.Closed])
}

// countOpen counts the connections of a series that are open.
func (s *Sets) countOpen(one *series, opened, closed int64) {
	one.open += opened - closed
	one.missed += s.recount.change(opened, closed)
}

// use notes that a series changes, which the next snapshot will be the first to contain.
func (s *Sets) use(one *series, now time.Time) {
	if one.start == 0 {
		one.start = s.clock.begin(now)
	}
	if one.began == 0 {
		one.began = s.clock.next
	}
	one.reused = one.reused || one.began != s.clock.next
	one.fresh = s.clock.next
	one.active = now.Sub(s.epoch)
}

// hbonePort is where a tunnel of an ambient mesh ends.
const hbonePort = 15008

func (s *Sets) traits(f *flow.Flow, flags unique.Handle[string]) traits {
	t := traits{direction: f.Connection.Direction, flags: flags}
	if s.settings.SecurityPolicy == PolicyAuto && tunnelled(f) {
		t.mutualTLS = true
	}
	if s.topology {
		t.topology = unique.Make(topologies{f.Source.Topology(), f.Destination.Topology()})
	}
	return t
}

// failureFlags returns response_flags of a failed connect. An aggregate of several has no reason.
func (s *Sets) failureFlags(c *flow.Connection) unique.Handle[string] {
	if !s.settings.FailureReasons || c.ErrorType == "" {
		return flagsConnect
	}
	flags, found := s.reasons[c.ErrorType]
	if !found { // errors are as many as the kernel has
		flags = unique.Make(strings.ToUpper(c.ErrorType))
		s.reasons[c.ErrorType] = flags
	}
	return flags
}

// tunnelled returns whether the connection itself is an HBONE tunnel, which is always mutual TLS.
func tunnelled(f *flow.Flow) bool {
	return f.Connection.Destination.Port() == hbonePort &&
		f.Destination != nil && f.Destination.Tunnel == identity.TunnelHBONE
}
