// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"time"
	"unique"
)

// Upsert publishes a workload that has its addresses since then (zero: always had). If its UID is known, the workload
// is its new version: addresses that it lost end now, and those that it keeps have the new names, whenever a
// connection began.
func (x *Index) Upsert(w *Workload, since, now time.Time) { x.Put(w, Since(since, now), now) }

// Put is Upsert with all that is known of the times. Each version is put once. A workload whose span is over is gone, and only
// retained.
func (x *Index) Put(w *Workload, span Span, now time.Time) {
	x.Replace(w, span, Span{Until: now}, now)
}

// Replace is Put where it is known, too, when the version before gave up the addresses that this one does not have.
func (x *Index) Replace(w *Workload, span, left Span, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case !x.swap(x.workloads[w.UID], w, span, left, now):
	case span.Until.IsZero():
		x.workloads[w.UID] = w
	default:
		delete(x.workloads, w.UID)
	}
}

// Swap is Put for a source that keeps its workloads itself: old is the version that it put before; nil: none. It differs from w. A
// source with many of them saves a map by that.
func (x *Index) Swap(old, w *Workload, span Span, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.swap(old, w, span, Span{Until: now}, now)
}

// swap returns false, and keeps the old version, where that is equal.
func (x *Index) swap(old, w *Workload, span, left Span, now time.Time) bool {
	over := !span.Until.IsZero()
	if old != nil && !over && old.Equal(w) {
		return false
	}
	var had []address
	if old != nil {
		had = plain(old.Addresses)
		x.held.Workloads--
	}
	at := momentOf(now)
	if old != nil && over { // its version before had the addresses since its own beginning
		begins := tenureOf(w, Span{From: span.From}, now)
		x.holders.move(old, had, begins, plain(w.Addresses), leaveAt(left, now), at)
		x.holders.move(w, plain(w.Addresses), tenure[Workload]{}, nil, leaveAt(span, now), at)
		x.byHostPort.move(old, x.hostPorts(old), begins, x.hostPorts(w), leaveAt(left, now), at)
		x.byHostPort.move(w, x.hostPorts(w), tenure[Workload]{}, nil, leaveAt(span, now), at)
	} else {
		x.holders.move(old, had, tenureOf(w, span, now), plain(w.Addresses), leaveAt(left, now), at)
		x.byHostPort.move(old, x.hostPorts(old), tenureOf(w, span, now), x.hostPorts(w), leaveAt(left, now), at)
	}
	if w.PodUID != (PodUID{}) && !x.isElsewhere(w) {
		x.byPod.Store(w.PodUID, w)
	}
	if old != nil {
		x.depart(old, at)
	}
	x.named[w.Names]++
	if over {
		delete(x.declared, w.UID)
		x.occupants.forget(w.PodUID)
		x.depart(w, at)
		x.observed(old, nil)
	} else {
		x.held.Workloads++
		x.observed(old, w)
	}
	x.generation.Add(1)
	return true
}

// Remove ends the workload's tenure of its addresses. It does nothing if there is no such workload.
func (x *Index) Remove(uid string, now time.Time) { x.RemoveAt(uid, Span{Until: now}, now) }

// RemoveAt is Remove with what is known of the span's end.
func (x *Index) RemoveAt(uid string, span Span, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.workloads[uid]; old != nil {
		delete(x.workloads, uid)
		x.drop(old, span, now)
	}
}

// Drop is RemoveAt for a workload that Swap put.
func (x *Index) Drop(w *Workload, span Span, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(w, span, now)
}

func (x *Index) drop(old *Workload, span Span, now time.Time) {
	at := momentOf(now)
	x.holders.move(old, plain(old.Addresses), tenure[Workload]{}, nil, leaveAt(span, now), at)
	x.byHostPort.move(old, x.hostPorts(old), tenure[Workload]{}, nil, leaveAt(span, now), at)
	delete(x.declared, old.UID)
	x.held.Workloads--
	x.occupants.forget(old.PodUID)
	x.depart(old, at)
	x.observed(old, nil)
	x.generation.Add(1)
}

// departure is when a workload went, or got another version.
type departure struct {
	workload *Workload
	at       moment
}

func (x *Index) depart(w *Workload, at moment) { x.gone = append(x.gone, departure{w, at}) }

// Named returns whether a workload has the names, or had them within retain.
func (x *Index) Named(names unique.Handle[Names]) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.named[names] > 0
}

// HolderIn returns the workload of a namespace that has an address of its own now; nil: none.
func (x *Index) HolderIn(namespace string, a netip.Addr) *Workload {
	h := x.holders.read(addressOf(plainAddr(a)))
	if h == nil {
		return nil
	}
	for t := range h.all {
		if t.open() && !t.holder.HostNetwork && t.holder.Namespace() == namespace {
			return t.holder
		}
	}
	return nil
}
