// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"unique"

	"github.com/gaissmai/bart"
)

// Networks are ranges of addresses outside that the user named. They name an address without a known holder;
// of nested ones the narrowest does. They are immutable once they are in use; nil has none.
type Networks struct {
	ranges bart.Table[*Workload]
	named  map[unique.Handle[Names]]struct{}
}

// Add names a range. It must be masked, and none that was added before.
func (n *Networks) Add(name string, ranges ...netip.Prefix) {
	w := networkWorkload(name)
	for _, r := range ranges {
		n.ranges.Insert(r, w)
	}
	if n.named == nil {
		n.named = make(map[unique.Handle[Names]]struct{})
	}
	n.named[w.Names] = struct{}{}
}

// Lookup returns the network of an address; nil: it is in none. It allocates nothing.
func (n *Networks) Lookup(a netip.Addr) *Workload {
	if n == nil {
		return nil
	}
	w, _ := n.ranges.Lookup(plainAddr(a))
	return w
}

// Named returns whether the names are those of a network.
func (n *Networks) Named(names unique.Handle[Names]) bool {
	if n == nil {
		return false
	}
	_, found := n.named[names]
	return found
}

// networkWorkload is what an end in the network is called: all that is known of it is the name.
func networkWorkload(name string) *Workload {
	return &Workload{
		UID: "//Network/" + name, Kind: KindNetwork, Name: name, Names: bareNames(name),
	}
}

// AddressWorkload is what an end is called of which only its address is known.
func AddressWorkload(a netip.Addr) *Workload {
	text := a.String()
	return &Workload{
		UID: "//Address/" + text, Kind: KindAddress, Name: text, Names: bareNames(text),
		Addresses: []netip.Addr{a},
	}
}

// bareNames are those of an end that is no workload: it has not even a revision.
func bareNames(name string) unique.Handle[Names] {
	return unique.Make(Names{
		Workload: name, CanonicalService: name, CanonicalRevision: Unknown,
		Namespace: Unknown, Principal: Unknown, Cluster: Unknown,
	})
}
