// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// maxLag bounds how much older than the first report of its holder a connection may be.
const maxLag = 30 * time.Second

// Index is a Resolver over the workloads and services that a source puts into it.
//
// An address answers with whoever had it when the connection began, also after they gave it up, until retain is over.
// Where several workloads had it at once:
//   - of workloads with an address of their own the one that got it last is right: the report that the other one gave it up
//     is still on its way. Two that got it together are decided by the lowest UID, so that the answer is always the same;
//   - workloads on the host's network share the node's address with each other and with what is no workload at all. The
//     one behind whose service the port is answers, else the node. Where the node is not known, one answers that is
//     alone; of several nobody does, as any guess would credit one of them with the others' bytes.
//
// Of the node's own ends a Locator knows more: see Locate.
type Index struct {
	retain, lag time.Duration
	generation  atomic.Uint64

	mu        sync.Mutex // of the writers
	workloads map[string]*Workload
	services  map[ServiceKey]*Service
	named     map[unique.Handle[Names]]int // of how many workloads, those that are retained included
	gone      []departure                  // in the order of their departure

	holders    *ledger[netip.Addr, Workload]
	byAddress  *ledger[netip.Addr, Service]
	byIdentity *ledger[ServiceKey, Service]
	byPod      *ledger[PodUID, Workload]
	locator    Locator // nil: none
}

var _ Resolver = (*Index)(nil)

// NewIndex returns an empty index that knows a removed holder for the time retain.
//
// A connection may be older than the first report of its holder by 30 s, but not by more than retain: that is how it is
// certain that nobody who was forgotten meanwhile had the address.
func NewIndex(retain time.Duration, options ...IndexOption) *Index {
	x := &Index{
		retain:    retain,
		lag:       min(retain, maxLag),
		workloads: make(map[string]*Workload),
		services:  make(map[ServiceKey]*Service),
		named:     make(map[unique.Handle[Names]]int),
		// The lowest UID comes last: the reader begins there.
		holders:    newLedger[netip.Addr](func(a, b *Workload) bool { return a.UID < b.UID }),
		byAddress:  newLedger[netip.Addr](func(a, b *Service) bool { return a.Key().Compare(b.Key()) < 0 }),
		byIdentity: newLedger[ServiceKey](func(_, _ *Service) bool { return true }),
		byPod:      newLedger[PodUID](func(_, _ *Workload) bool { return true }),
	}
	for _, option := range options {
		option(x)
	}
	return x
}

// IndexOption is an optional part of an Index.
type IndexOption func(*Index)

// WithLocator makes the place of a process decide where its address does not: at an address that is shared, that nobody is
// known to have, or that is loopback's. An address of one workload alone needs nothing else: a proxy that speaks for a pod
// has the pod's address, and a cgroup of its own. nil: no locator.
func WithLocator(by Locator) IndexOption { return func(x *Index) { x.locator = by } }

// Upsert publishes a workload that has its addresses since then (zero: always had). If its UID is known, the workload
// is its new version: addresses that it lost end now, and those that it keeps have the new names, whenever a
// connection began.
func (x *Index) Upsert(w *Workload, since, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.workloads[w.UID]
	if old != nil && old.Equal(w) {
		return
	}
	var gone []netip.Addr
	var pod []PodUID
	if old != nil {
		gone, pod = plain(old.Addresses), old.pod()
	}
	x.holders.move(old, gone, w, plain(w.Addresses), wall(since), wall(now))
	x.byPod.move(old, pod, w, w.pod(), wall(since), wall(now))
	if old != nil {
		x.gone = append(x.gone, departure{old.Names, wall(now)})
	}
	x.workloads[w.UID] = w
	x.named[w.Names]++
	x.generation.Add(1)
}

// Remove ends the workload's tenure of its addresses. It does nothing if there is no such workload.
func (x *Index) Remove(uid string, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.workloads[uid]
	if old == nil {
		return
	}
	x.holders.move(old, plain(old.Addresses), nil, nil, time.Time{}, wall(now))
	x.byPod.move(old, old.pod(), nil, nil, time.Time{}, wall(now))
	delete(x.workloads, uid)
	x.gone = append(x.gone, departure{old.Names, wall(now)})
	x.generation.Add(1)
}

// departure is when a workload went, or got other names.
type departure struct {
	names unique.Handle[Names]
	at    time.Time
}

// Named returns whether a workload has the names, or had them within retain.
func (x *Index) Named(names unique.Handle[Names]) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.named[names] > 0
}

// UpsertService is Upsert for a service.
func (x *Index) UpsertService(s *Service, since, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.services[s.Key()]
	if old != nil && old.equal(s) {
		return
	}
	var gone []netip.Addr
	var key []ServiceKey
	if old != nil {
		gone, key = plain(old.Addresses), []ServiceKey{s.Key()}
	}
	x.byAddress.move(old, gone, s, plain(s.Addresses), wall(since), wall(now))
	x.byIdentity.move(old, key, s, []ServiceKey{s.Key()}, wall(since), wall(now))
	x.services[s.Key()] = s
	x.generation.Add(1)
}

// RemoveService is Remove for a service.
func (x *Index) RemoveService(key ServiceKey, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.services[key]
	if old == nil {
		return
	}
	x.byAddress.move(old, plain(old.Addresses), nil, nil, time.Time{}, wall(now))
	x.byIdentity.move(old, []ServiceKey{key}, nil, nil, time.Time{}, wall(now))
	delete(x.services, key)
	x.generation.Add(1)
}

// Expire forgets whoever ended more than retain ago. Call it every second or so.
func (x *Index) Expire(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	until := wall(now).Add(-x.retain)
	for len(x.gone) > 0 && !x.gone[0].at.After(until) {
		names := x.gone[0].names
		x.gone = x.gone[1:]
		if x.named[names]--; x.named[names] == 0 {
			delete(x.named, names)
			x.generation.Add(1) // their series can end
		}
	}
	x.holders.expire(until)
	x.byAddress.expire(until)
	x.byIdentity.expire(until)
	x.byPod.expire(until)
}

// Generation changes with everything that is published or removed, and with every process that was found.
func (x *Index) Generation() uint64 {
	if x.locator != nil {
		return x.generation.Load() + x.locator.Generation()
	}
	return x.generation.Load()
}

// Held counts what is there now, without what is retained.
func (x *Index) Held() Held {
	x.mu.Lock()
	defer x.mu.Unlock()
	return Held{Workloads: len(x.workloads), Services: len(x.services)}
}

// plain returns the addresses as the index has them, and the probe: IPv4 not mapped to IPv6, and without a zone.
func plain(addresses []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, len(addresses))
	for i, a := range addresses {
		all[i] = plainAddr(a)
	}
	return all
}

func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// wall drops the monotonic clock: connections begin at times that have none.
func wall(t time.Time) time.Time { return t.Round(0) }
