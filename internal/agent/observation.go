// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// Observation is what self telemetry shows. It is taken at every collection.
type Observation struct {
	Naming naming.Stats
	Series sink.Series
	Queues map[string]delivery.QueueStats // of records, by what one is called: log, span
	Probe  probe.Stats
	NAT    conntrack.Stats
	// Earlier is of the agents that had the same programs before; the tally of Probe has the ends that they counted, too.
	Earlier Audit
}

// Exported returns the ends that delivered metrics hold.
func (o *Observation) Exported() flow.Counters { return sum(o.Series.Exported, o.Earlier.Exported) }

// Excluded returns the ends that are not reported, less those that the programs exclude and do not count.
func (o *Observation) Excluded() flow.Counters {
	return sum(sum(o.Naming.OutOfScope, o.Naming.Excluded), o.Earlier.Excluded)
}

func sum(a, b flow.Counters) flow.Counters {
	a.Add(b)
	return a
}

// TotalsLost returns what no series counted, because the spill map was full.
func (o *Observation) TotalsLost() flow.Counters {
	lost := deltas(&o.Probe.Tally.SpillLost)
	lost[flow.Closed], lost[flow.Failed] = int64(o.Probe.Tally.SpillLostClosed), int64(o.Probe.Tally.SpillLostFailed)
	return lost
}

// Observation returns the newest one, which is empty before the first collection. It must not be changed.
func (r *Agent) Observation() *Observation { return r.newest.Load() }

// Held counts the identities that the source has now.
func (r *Agent) Held() identity.Held { return r.source.Held() }

// EventsBehind counts the changes that the source has received and does not use yet.
func (r *Agent) EventsBehind() int {
	if queue, ok := r.source.(identity.Queue); ok {
		return queue.Behind()
	}
	return 0 // it applies what it reads
}

// Demand counts the addresses that the source asks for; false: it asks for none, as it knows all.
func (r *Agent) Demand() (identity.Demand, bool) {
	if r.asker == nil {
		return identity.Demand{}, false
	}
	return r.asker.Demand(), true
}

// InSync is true while the source of identities knows the present state.
func (r *Agent) InSync() bool { return r.source.InSync() }

// observe takes what self telemetry will show.
func (r *Agent) observe() {
	stats, err := r.probe.Stats()
	if err != nil {
		return // reading will fail with it too
	}
	o := &Observation{
		Naming:  r.namer.Stats(),
		Probe:   stats,
		Earlier: r.earlier,
		Queues:  make(map[string]delivery.QueueStats),
	}
	for _, s := range r.sinks {
		stats := s.Stats()
		if stats.Item != "" {
			o.Queues[stats.Item] = stats.Queue
			continue
		}
		o.Series = stats.Series
	}
	if r.translation != nil {
		o.NAT = r.translation.Stats()
	}
	r.newest.Store(o)
}
