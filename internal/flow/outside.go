// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"slices"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Other is what the labels say of all addresses outside that are past the limit.
const Other = "other"

var (
	otherNames = unique.Make(identity.Names{
		Workload: Other, CanonicalService: Other, CanonicalRevision: unknown,
		Namespace: unknown, Principal: unknown, Cluster: unknown,
	})
	otherService = unique.Make(serviceNames{host: Other, name: unknown, namespace: unknown})
)

// nameOutside lets the user's networks answer for the ends that nobody is known to have, when no more will be known.
func (a *Aggregator) nameOutside(f *Flow) {
	networks := a.settings.Networks
	if networks == nil {
		return
	}
	c := f.Connection
	if !f.Source.Known() {
		f.Source = orNetwork(f.Source, networks.Lookup(c.Source.Addr()))
	}
	// What is a service's own address is no end's.
	if !f.Destination.Known() && (f.Service == nil || !slices.Contains(f.Service.Addresses, c.Destination.Addr())) {
		f.Destination = orNetwork(f.Destination, networks.Lookup(c.Destination.Addr()))
	}
	if f.Service == nil {
		f.RequestedNetwork = a.networkAsked(f)
	}
}

// networkAsked is the network of the address that the application asked for, if no workload has it.
func (a *Aggregator) networkAsked(f *Flow) *identity.Workload {
	asked := f.Requested()
	if asked.Addr() == f.Connection.Destination.Addr() {
		if f.Destination.Known() {
			return nil
		}
		return orNetwork(nil, f.Destination)
	}
	network := a.settings.Networks.Lookup(asked.Addr())
	if network == nil {
		return nil
	}
	if w, _ := a.resolver.Resolve(identity.End{Address: asked, Server: true}, f.Connection.Start); w.Known() {
		return nil
	}
	return network
}

// orNetwork gives the network, if it is one.
func orNetwork(w, network *identity.Workload) *identity.Workload {
	if network == nil || network.Kind != identity.KindNetwork {
		return w
	}
	return network
}

// addresses are the unknown ones that stand in labels, at most limit of them.  One has its place as long as a series says it.
type addresses struct {
	limit int
	used  map[netip.Addr]int // by how many series
}

func newAddresses(limit int) *addresses {
	return &addresses{limit: limit, used: make(map[netip.Addr]int)}
}

// hold takes places for a new series.
func (t *addresses) hold(all []netip.Addr) {
	for _, a := range all {
		t.used[a]++
	}
}

// release gives the places of a series back.
func (t *addresses) release(all []netip.Addr) {
	for _, a := range all {
		if t.used[a]--; t.used[a] == 0 {
			delete(t.used, a)
		}
	}
}

// claim are the addresses that one key says: of the source, of the destination, and the one that was asked for.
type claim struct {
	addresses *addresses
	said      [3]netip.Addr
	n, fresh  int // said, and of these without a place yet
	refused   bool
}

// may says whether the key may say the address.
func (c *claim) may(a netip.Addr) bool {
	if slices.Contains(c.said[:c.n], a) {
		return true
	}
	if c.addresses.used[a] == 0 {
		if len(c.addresses.used)+c.fresh >= c.addresses.limit {
			c.refused = true
			return false
		}
		c.fresh++
	}
	c.said[c.n] = a
	c.n++
	return true
}

// names are those of an end; of one that is but an address, only if it may be said.
func (c *claim) names(w *identity.Workload) unique.Handle[identity.Names] {
	switch {
	case w == nil:
		return unknownNames
	case w.Kind == identity.KindAddress && !c.may(w.Addresses[0]):
		return otherNames
	}
	return w.Names
}

// held are what a new series of the key must hold.
func (c *claim) held() []netip.Addr {
	return append([]netip.Addr(nil), c.said[:c.n]...) // nil when there are none, as in most series
}
