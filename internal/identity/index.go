// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/puzpuzpuz/xsync/v4"
)

// maxLag bounds how much older than the first report of its holder a connection may be.
const maxLag = 30 * time.Second

// Index is a Resolver over the workloads and services that a source puts into it. docs/identity.md describes the rules by
// which it decides.
//
// An address answers with whoever had it when the connection began, also after they gave it up, until retain is over.
// Where several workloads had it at once:
//   - of workloads with an address of their own the one that got it last is right: the report that the other one gave it up
//     is still on its way. Two that got it together are decided by the lowest UID, so that the answer is always the same.
//     Where it is not certain which of them had it at the time, the place of the local process decides, else nobody is named;
//   - workloads on the host's network share the node's address with each other and with what is no workload at all. The
//     one behind whose service the port is answers, else the node. Where the node is not known, one answers that is
//     alone; of several nobody does, as any guess would credit one of them with the others' bytes.
//
// Of the node's own ends a Locator knows more: see Locate.
type Index struct {
	retain, lag time.Duration
	generation  atomic.Uint64
	incomplete  atomic.Bool // not everything was listed once
	placed      atomic.Bool // Elsewhere is certain

	mu        sync.Mutex           // of the writers
	workloads map[string]*Workload // by UID, but those that their source keeps
	held      Held
	named     map[unique.Handle[Names]]int // of how many workloads, those that are retained included
	gone      []departure                  // in the order of their departure

	holders    *ledger[address, Workload]
	byAddress  *ledger[address, Service]
	byIdentity *ledger[ServiceKey, Service]
	byNodePort *ledger[uint16, Service]
	byHostPort *ledger[hostPort, Workload]
	declared   map[string][]uint16           // the host ports of workloads that have any, by UID
	byPod      *xsync.Map[PodUID, *Workload] // the newest version; the time does not matter: a UID is not used again
	locator    Locator                       // nil: none
	occupants  *occupants
	gap        *Gap     // nil: there is none
	observer   Observer // nil: nobody
	// An answer that nothing confirms holds for so long into a gap.
	trust time.Duration
}

var _ Resolver = (*Index)(nil)

// address is an IP address as a key without a pointer.
type address [16]byte

func addressOf(a netip.Addr) address { return a.As16() }

// NewIndex returns an empty index that knows a removed holder for the time retain.
//
// A connection may be older than the first report of its holder by 30 s, but not by more than retain: that is how it is
// certain that nobody who was forgotten meanwhile had the address.
func NewIndex(retain time.Duration, options ...IndexOption) *Index {
	x := &Index{
		retain:    retain,
		lag:       min(retain, maxLag),
		workloads: make(map[string]*Workload),
		named:     make(map[unique.Handle[Names]]int),
		// The lowest UID comes last: the reader begins there.
		holders:    newLedger[address](func(a, b *Workload) bool { return a.UID < b.UID }),
		byAddress:  newLedger[address](func(a, b *Service) bool { return a.Key().Compare(b.Key()) < 0 }),
		byIdentity: newLedger[ServiceKey](func(_, _ *Service) bool { return true }),
		byNodePort: newLedger[uint16](func(a, b *Service) bool { return a.Key().Compare(b.Key()) < 0 }),
		byHostPort: newLedger[hostPort](func(a, b *Workload) bool { return a.UID < b.UID }),
		declared:   make(map[string][]uint16),
		byPod:      xsync.NewMap[PodUID, *Workload](),
		occupants:  newOccupants(),
	}
	for _, option := range options {
		option(x)
	}
	return x
}

// IndexOption is an optional part of an Index.
type IndexOption func(*Index)

// WithLocator makes the place of a process decide where its address does not: at an address that is shared, that nobody is
// known to have, that passed from one pod to another, or that is loopback's. A proxy that speaks for a pod has the pod's
// address, and a cgroup of its own. nil: no locator.
func WithLocator(by Locator) IndexOption { return func(x *Index) { x.locator = by } }

// WithGap makes answers uncertain that are about a time in the gap. Where nothing else confirms them, nobody is named for
// connections that began later than trust into it.
func WithGap(gap *Gap, trust time.Duration) IndexOption {
	return func(x *Index) { x.gap, x.trust = gap, trust }
}

// Incomplete says whether something was not listed yet: until everything was, no answer is settled.
func (x *Index) Incomplete(is bool) {
	if x.incomplete.Swap(is) != is {
		x.generation.Add(1)
	}
}

// Placed says that the node of this process is known to the source: only then it is certain who is elsewhere.
func (x *Index) Placed() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.placed.Swap(true) {
		return
	}
	for uid, w := range x.byPod.All() {
		if w.Elsewhere {
			x.byPod.Delete(uid)
		}
	}
	x.generation.Add(1)
}

// Upsert publishes a workload that has its addresses since then (zero: always had). If its UID is known, the workload
// is its new version: addresses that it lost end now, and those that it keeps have the new names, whenever a
// connection began.
func (x *Index) Upsert(w *Workload, since, now time.Time) { x.Put(w, Since(since, now), now) }

// Put is Upsert with all that is known of when. Each version is put once. A workload whose span is over is retained, and is not there any more.
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

// IsService returns whether a service has the address now.
func (x *Index) IsService(a netip.Addr) bool {
	h := x.byAddress.read(addressOf(plainAddr(a)))
	if h == nil {
		return false
	}
	for t := range h.all {
		if t.open() && !t.holder.external(a) {
			return true
		}
	}
	return false
}

// UpsertService is Upsert for a service.
func (x *Index) UpsertService(s *Service, since, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.serviceNow(s.Key())
	if old != nil && old.equal(s) {
		return
	}
	var had []address
	var key []ServiceKey
	var ports []uint16
	if old != nil {
		had, key, ports = plain(old.Addresses), []ServiceKey{s.Key()}, old.onNodes()
	}
	at := momentOf(now)
	next := tenureOf(s, Since(since, now), now)
	x.byAddress.move(old, had, next, plain(s.Addresses), leave{until: at}, at)
	x.byIdentity.move(old, key, next, []ServiceKey{s.Key()}, leave{until: at}, at)
	x.byNodePort.move(old, ports, next, s.onNodes(), leave{until: at}, at)
	if old == nil {
		x.held.Services++
	}
	x.observedService(old, s)
	x.generation.Add(1)
}

// RemoveService is Remove for a service.
func (x *Index) RemoveService(key ServiceKey, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.serviceNow(key)
	if old == nil {
		return
	}
	at := momentOf(now)
	x.byAddress.move(old, plain(old.Addresses), tenure[Service]{}, nil, leave{until: at}, at)
	x.byIdentity.move(old, []ServiceKey{key}, tenure[Service]{}, nil, leave{until: at}, at)
	x.byNodePort.move(old, old.onNodes(), tenure[Service]{}, nil, leave{until: at}, at)
	x.held.Services--
	x.observedService(old, nil)
	x.generation.Add(1)
}

// serviceNow is the service that is there; nil: none is.
func (x *Index) serviceNow(key ServiceKey) *Service {
	for t := range x.byIdentity.read(key).all {
		if t.open() {
			return t.holder
		}
	}
	return nil
}

// Expire forgets whoever ended more than retain ago. Call it every second or so.
func (x *Index) Expire(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	until := momentOf(now).add(-x.retain)
	n := 0
	for ; n < len(x.gone) && x.gone[n].at <= until; n++ {
		w := x.gone[n].workload
		if newest, _ := x.byPod.Load(w.PodUID); newest == w { // no version of it came later
			x.byPod.Delete(w.PodUID)
			x.occupants.forget(w.PodUID)
		}
		names := w.Names
		if x.named[names]--; x.named[names] == 0 {
			delete(x.named, names)
			x.generation.Add(1) // their series can end
		}
	}
	if n > 0 {
		x.gone = append([]departure(nil), x.gone[n:]...)
	}
	x.holders.expire(until)
	x.byAddress.expire(until)
	x.byIdentity.expire(until)
	x.byNodePort.expire(until)
	x.byHostPort.expire(until)
}

// Generation changes with everything that is published or removed, with every process that was found, and with the gap.
func (x *Index) Generation() uint64 {
	g := x.generation.Load()
	if x.locator != nil {
		g += x.locator.Generation()
	}
	if x.gap != nil {
		g += x.gap.count.Load()
	}
	return g
}

// Held counts what is there now, without what is retained.
func (x *Index) Held() Held {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.held
}

// plain returns the addresses as the index has them, and the probe: IPv4 not mapped to IPv6, and without a zone.
func plain(addresses []netip.Addr) []address {
	if len(addresses) == 0 {
		return nil
	}
	all := make([]address, len(addresses))
	for i, a := range addresses {
		all[i] = addressOf(plainAddr(a))
	}
	return all
}

func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
