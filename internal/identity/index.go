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
// An address resolves to the workload that had it when the connection began, also after that gave it up, until retain is over.
// Where several workloads had it at once:
//   - Among workloads with an address of their own, the one that got it last wins: the report that the other one gave it up
//     is still on its way. If two got it together, the lowest UID wins, so that the answer is always the same.
//     Where it is not certain which of them had it at the time, the place of the local process decides, else none is named.
//   - Workloads on the host's network share the node's address with each other and with processes of no workload. The
//     workload whose service has the port wins, else the node. Where the node is not known, a single workload
//     wins; among several none does, because a guess would credit one of them with the others' bytes.
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

// WithLocator makes the place of a process decide where its address does not: at an address that is shared, that has no known
// holder, that passed from one pod to another, or that is loopback's. The proxy of a pod has the pod's address, and a cgroup
// of its own. nil: no locator.
func WithLocator(by Locator) IndexOption { return func(x *Index) { x.locator = by } }

// WithGap makes answers about a time in the gap uncertain. Where nothing else confirms them, connections that began more
// than trust after its beginning get no name.
func WithGap(gap *Gap, trust time.Duration) IndexOption {
	return func(x *Index) { x.gap, x.trust = gap, trust }
}

// Incomplete sets whether something was not listed yet: until everything was, no answer is settled.
func (x *Index) Incomplete(is bool) {
	if x.incomplete.Swap(is) != is {
		x.generation.Add(1)
	}
}

// Placed notes that the source knows the node of this process: only then is it certain which workloads are elsewhere.
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

// Expire forgets workloads and services that ended more than retain ago. Call it about every second.
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
