// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"net/netip"
	"time"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/fields"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// maxAggregates bounds the flows of one interval: past it all are written, and counting begins anew.
const maxAggregates = 4096

// aggregator adds up events with the same names, service, direction, event and reason.
type aggregator struct {
	began time.Time // when the first event of the interval was added; zero: none is held
	index map[aggregateKey]int
	held  []aggregate // in the order in which the flows were met
}

// aggregateKey is what events of one aggregate have in common.
type aggregateKey struct {
	source, destination endKey
	service             string     // host name and namespace
	requested           netip.Addr // what a client asked for, where that is no service
	namespace           string
	direction           flow.Direction
	event               fields.Event
	reason              flow.CloseReason
}

// endKey is one side by name. A workload may be another object after an update.
type endKey struct {
	name  string
	names unique.Handle[identity.Names]
}

// aggregate is a flow whose connection has sums: the totals, the duration, and how many there were in Total[Opened] or
// Total[Closed]. It starts with the first of its connections, and its time is that of its last event.
type aggregate struct {
	event      fields.Event
	flow       flow.Flow
	connection flow.Connection
}

// summed are the totals that add up over connections.
var summed = [...]flow.Counter{flow.Sent, flow.Received, flow.Retransmits, flow.Lost}

func newAggregator() *aggregator { return &aggregator{index: make(map[aggregateKey]int)} }

// add counts an event, and returns whether no further flow fits.
func (a *aggregator) add(event fields.Event, at time.Time, f *flow.Flow, now time.Time) (full bool) {
	if a.began.IsZero() {
		a.began = now
	}
	key := keyOf(event, f)
	i, known := a.index[key]
	if !known {
		i = len(a.held)
		a.index[key] = i
		a.held = append(a.held, newAggregate(event, f))
	}
	a.held[i].add(at, f)
	return len(a.held) >= maxAggregates
}

// due returns whether the interval is over.
func (a *aggregator) due(now time.Time, interval time.Duration) bool {
	return !a.began.IsZero() && now.Sub(a.began) >= interval
}

// take passes each aggregate to write, and forgets all.
func (a *aggregator) take(write func(event fields.Event, f *flow.Flow)) {
	for i := range a.held {
		g := &a.held[i]
		g.flow.Connection = &g.connection
		write(g.event, &g.flow)
	}
	clear(a.held) // they hold workloads
	clear(a.index)
	a.held, a.began = a.held[:0], time.Time{}
}

func keyOf(event fields.Event, f *flow.Flow) aggregateKey {
	key := aggregateKey{
		source: endKeyOf(f.Source), destination: endKeyOf(f.Destination),
		direction: f.Connection.Direction, event: event, reason: f.Connection.Reason,
	}
	if f.Service != nil {
		key.service, key.namespace = f.Service.Host, f.Service.Namespace
	} else {
		key.requested = f.Requested().Addr()
	}
	return key
}

func endKeyOf(w *identity.Workload) endKey {
	if w == nil {
		return endKey{}
	}
	return endKey{w.Name, w.Names}
}

func newAggregate(event fields.Event, f *flow.Flow) aggregate {
	c := f.Connection
	return aggregate{event: event, flow: *f, connection: flow.Connection{
		Event: c.Event, Direction: c.Direction, Destination: c.Destination, Original: c.Original, Start: c.Start, Reason: c.Reason,
	}}
}

func (g *aggregate) add(at time.Time, f *flow.Flow) {
	c, sum := f.Connection, &g.connection
	for _, counter := range summed {
		sum.Total[counter] += c.Total[counter]
	}
	if g.event == fields.Opened {
		sum.Total[flow.Opened]++
	} else {
		sum.Total[flow.Closed]++
	}
	if g.event == fields.Closed {
		sum.Duration += c.Duration
	}
	if c.Start.Before(sum.Start) {
		sum.Start = c.Start
	}
	if at.After(sum.At) {
		sum.At = at
	}
	if f.Observed.After(g.flow.Observed) {
		g.flow.Observed = f.Observed
	}
}
