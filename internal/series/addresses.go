// SPDX-License-Identifier: Apache-2.0

package series

import (
	"net/netip"
	"slices"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// other is in labels in place of all unknown addresses past the limit.
const other = identity.Other

var otherNames = unique.Make(identity.Names{
	Workload: other, CanonicalService: other, CanonicalRevision: unknown,
	Namespace: unknown, Principal: unknown, Cluster: unknown,
})

// addresses are the unknown ones in labels, at most limit of them. One has its place as long as a series has it.
type addresses struct {
	limit    int
	used     map[netip.Addr]place
	owned    map[unique.Handle[identity.Names]]int // places by owner
	pressure pressure
}

type place struct {
	series int                           // that have the address
	owner  unique.Handle[identity.Names] // the workload that was the first to have it
}

func newAddresses(limit int) *addresses {
	return &addresses{limit: limit, used: make(map[netip.Addr]place), owned: make(map[unique.Handle[identity.Names]]int)}
}

// hold takes places for a new series.
func (t *addresses) hold(all []netip.Addr, owner unique.Handle[identity.Names]) {
	for _, a := range all {
		p, found := t.used[a]
		if !found {
			p.owner = owner
			t.owned[owner]++
		}
		p.series++
		t.used[a] = p
	}
}

// release frees the places of a series.
func (t *addresses) release(all []netip.Addr) {
	for _, a := range all {
		p := t.used[a]
		if p.series--; p.series > 0 {
			t.used[a] = p
			continue
		}
		delete(t.used, a)
		if t.owned[p.owner]--; t.owned[p.owner] <= 0 {
			delete(t.owned, p.owner)
		}
	}
}

// reservation are the unknown addresses of one key: of the source, of the destination, and the requested one.
type reservation struct {
	addresses *addresses
	owner     unique.Handle[identity.Names] // the workload whose end it is
	reserved  [3]netip.Addr
	n, fresh  int // reserved, and of these without a place yet
	refused   bool
}

// reserve returns whether the key may have the address.
func (r *reservation) reserve(a netip.Addr) bool {
	if slices.Contains(r.reserved[:r.n], a) {
		return true
	}
	t := r.addresses
	if _, found := t.used[a]; !found {
		if len(t.used)+r.fresh >= t.limit || crowded(len(t.used), t.owned[r.owner], t.limit) {
			r.refused, t.pressure.refused = true, true
			return false
		}
		r.fresh++
	}
	r.reserved[r.n] = a
	r.n++
	return true
}

// names returns those of an end that are chosen; of one that is but an address, only if the key may have it.
func (r *reservation) names(w *identity.Workload, c *choice, end *namesChoice) unique.Handle[identity.Names] {
	names := namesOf(w)
	switch {
	case w == nil || w.Kind != identity.KindAddress:
	case c.istio:
		names = unknownNames
	case end.showsAddress() && !r.reserve(w.Addresses[0]):
		names = otherNames
	}
	return end.reduce(names)
}

// held returns what a new series of the key must hold.
func (r *reservation) held() []netip.Addr {
	return append([]netip.Addr(nil), r.reserved[:r.n]...) // nil when there are none, as in most series
}
