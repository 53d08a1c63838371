// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// hold keeps the addresses of connections that rest: a source that asks for addresses gives up those that nobody looks up. It
// goes over all open connections twice in the time for which the source holds an address.
func (r *Agent) hold(now time.Time) error {
	if r.asker == nil || r.needs.Idle || now.Before(r.holdAt) {
		return nil
	}
	r.holdAt = now.Add(r.holdFor / 2)
	return r.probe.Sweep(true, r.addOrHold)
}

// addOrHold adds a record, unless it has nothing new.
func (r *Agent) addOrHold(record *probe.Record) {
	c := r.decoder.record(record, r.probe.Clock())
	if c.Event != flow.EventOpen || c.Delta != (flow.Counters{}) {
		r.namer.Add(c, r.observed(c))
		return
	}
	r.asker.Hold(c.Source.Addr())
	r.asker.Hold(c.Destination.Addr())
	if c.Original.IsValid() {
		r.asker.Hold(c.Original.Addr())
	}
}
