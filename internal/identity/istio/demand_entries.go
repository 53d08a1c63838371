// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"slices"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// keeps returns whether there is a use for what the server has.
func (d *demand) keeps(e *entry) bool {
	if d.isLocal(e) || e.service != nil && d.byName(e.service.Key()) {
		return true
	}
	return slices.ContainsFunc(e.addresses, func(at located) bool {
		if at.network != d.network {
			return false
		}
		w, held := d.wants.Load(at.address)
		return held && !w.local
	})
}

func (d *demand) isLocal(e *entry) bool {
	return e.workload != nil && e.node != "" && e.node == d.nodeName
}

func (d *demand) isElsewhere(e *entry) bool {
	return e.node != "" && d.nodeName != "" && e.node != d.nodeName
}

// owns returns whether the entry's addresses are those of a pod on this node, and of nobody else.
func (d *demand) owns(e *entry) bool { return d.isLocal(e) && !e.workload.HostNetwork }

func (d *demand) unlist(e *entry) {
	for _, a := range e.within(d.network) {
		if left := slices.DeleteFunc(d.at[a], func(o *entry) bool { return o == e }); len(left) > 0 {
			d.at[a] = left
		} else {
			delete(d.at, a)
		}
	}
}

func (d *demand) publish(e *entry, got identity.Span, now time.Time) {
	if e.service != nil {
		s := *e.service
		s.Addresses = e.within(d.network)
		d.index.UpsertService(&s, got.From, now)
		return
	}
	w := *e.workload
	w.Addresses, w.Elsewhere = e.within(d.network), d.isElsewhere(e)
	d.index.Put(&w, got, now)
}

// drop forgets what is held.
func (d *demand) drop(e *entry, left identity.Span, now time.Time) {
	d.unlist(e)
	delete(d.entries, e.name)
	if e.service != nil {
		d.republish(e.service.Key(), now)
		return
	}
	d.index.RemoveAt(e.workload.UID, left, now)
	for i := range e.workload.Services {
		d.unrefer(e.workload.Services[i].Service, now)
	}
}
