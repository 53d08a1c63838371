// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/otlp"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// Observation is what self telemetry shows. It is taken at every collection.
type Observation struct {
	Flows    flow.Stats
	Logs     otlp.LogStats
	Tally    probe.Tally
	Counts   probe.Counts
	Maps     []probe.MapUse
	Programs []probe.ProgramUse
	NAT      conntrack.Stats
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

// InSync is true while the source of identities knows the present state.
func (r *Agent) InSync() bool { return r.source.InSync() }

// observe takes what self telemetry will show.
func (r *Agent) observe() {
	tally, err := r.usage.Tally()
	if err != nil {
		return // reading will fail with it too
	}
	o := &Observation{
		Flows:    r.flows.Stats(),
		Tally:    tally,
		Counts:   r.usage.Counts(),
		Maps:     r.usage.Maps(),
		Programs: r.usage.Programs(),
	}
	if r.logsOut != nil {
		o.Logs = r.logsOut.Stats()
	}
	if r.translation != nil {
		o.NAT = r.translation.Stats()
	}
	r.newest.Store(o)
}
