// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"slices"
	"time"
)

// Resolve returns who had the address. An unknown address is not settled: the source may report its holder later.
func (x *Index) Resolve(end End, at time.Time) (w *Workload, settled bool) {
	address := plainAddr(end.Address.Addr())
	h := x.holders.read(address)
	if h != nil && end.Local != nil && x.locator != nil && h.tenures[0].holder.HostNetwork {
		// The usual case at a node's address, without a look at all that share it.
		if uid, place := x.locator.Locate(*end.Local, at); place == PlacePod {
			if pod := x.pod(uid); pod != nil && pod.HostNetwork && slices.Contains(pod.Addresses, address) {
				return pod, true
			}
		}
	}
	moment, known := at, false
	if h != nil {
		moment, known, settled = h.moment(at, x.lag)
	}
	if end.Local == nil || x.locator == nil {
		if known {
			w = holderOf(h, moment, end.Address.Port(), false)
		}
		return w, settled
	}
	if known {
		if w = ownerOf(h, moment); w != nil {
			return w, true
		}
	}
	uid, place := x.locator.Locate(*end.Local, at)
	if place == PlacePod {
		// Where nobody is known to have the address, it may yet turn out to be a pod's that a proxy in another pod speaks for.
		w = x.pod(uid)
		return w, w != nil && (known || address.IsLoopback())
	}
	if known {
		w = holderOf(h, moment, end.Address.Port(), place == PlaceHost)
	}
	switch place {
	case PlaceHost:
		return w, settled && (w != nil || !known)
	case PlaceSought:
		return w, false
	default:
		return w, settled
	}
}

// ownerOf is the workload with an address of its own.
func ownerOf(h *history[Workload], at time.Time) *Workload {
	for i := len(h.tenures) - 1; i >= 0; i-- {
		if t := &h.tenures[i]; !t.holder.HostNetwork && t.covers(at) {
			return t.holder
		}
	}
	return nil
}

// pod is the workload of a cgroup. The time does not matter: no other pod ever has its UID.
func (x *Index) pod(uid PodUID) *Workload {
	h := x.byPod.read(uid)
	if h == nil {
		return nil
	}
	newest := h.tenures[0]
	for _, t := range h.tenures[1:] {
		if t.open() || !newest.open() {
			newest = t
		}
	}
	return newest.holder
}

// holderOf decides between the workloads that had an address at once; with noPod it is known to be none of the pods.
func holderOf(h *history[Workload], at time.Time, port uint16, noPod bool) *Workload {
	var sharing, serving, node *Workload
	shared := 0
	for i := len(h.tenures) - 1; i >= 0; i-- {
		t := &h.tenures[i]
		if !t.covers(at) || noPod && t.holder.PodUID != (PodUID{}) {
			continue
		}
		w := t.holder
		if !w.HostNetwork {
			return w
		}
		if w.Node {
			node = w
			continue
		}
		shared++
		sharing = w
		if w.serves(port) && (serving == nil || w.UID < serving.UID) {
			serving = w
		}
	}
	switch {
	case serving != nil:
		return serving
	case node != nil:
		return node
	case shared == 1:
		return sharing
	}
	return nil
}

// Service returns the destination's service.
func (x *Index) Service(original, destination netip.AddrPort, w *Workload, at time.Time) *Service {
	asked := original
	if !asked.IsValid() {
		asked = destination
	}
	if s := x.serviceAt(asked, at); s != nil {
		return s
	}
	if w == nil {
		return nil
	}
	if s := x.serviceOf(w, destination.Port(), at); s != nil {
		return s
	}
	// A mesh that takes the connection to another port of the same workload hides the port that was meant.
	if plainAddr(asked.Addr()) == plainAddr(destination.Addr()) && asked.Port() != destination.Port() {
		if s := x.serviceOf(w, asked.Port(), at); s != nil {
			return s
		}
	}
	if len(w.Services) == 1 {
		return x.service(w.Services[0].Service, at)
	}
	return nil
}

// serviceAt is the service that listens at an address.
func (x *Index) serviceAt(asked netip.AddrPort, at time.Time) *Service {
	h := x.byAddress.read(plainAddr(asked.Addr()))
	if h == nil {
		return nil
	}
	at, ok, _ := h.moment(at, x.lag)
	if !ok {
		return nil
	}
	var best *Service
	for i := range h.tenures {
		t := &h.tenures[i]
		if t.covers(at) && t.holder.listens(asked.Port()) {
			best = lower(best, t.holder)
		}
	}
	return best
}

// serviceOf is the service of a workload that ends at the workload's port.
func (x *Index) serviceOf(w *Workload, target uint16, at time.Time) *Service {
	var best *Service
	for i := range w.Services {
		if !w.Services[i].serves(target) {
			continue
		}
		if s := x.service(w.Services[i].Service, at); s != nil {
			best = lower(best, s)
		}
	}
	return best
}

func (x *Index) service(key ServiceKey, at time.Time) *Service {
	h := x.byIdentity.read(key)
	if h == nil {
		return nil
	}
	at, ok, _ := h.moment(at, x.lag)
	if !ok {
		return nil
	}
	for i := len(h.tenures) - 1; i >= 0; i-- {
		if h.tenures[i].covers(at) {
			return h.tenures[i].holder
		}
	}
	return nil
}

// lower returns the one that wins a tie; a may be nil.
func lower(a, b *Service) *Service {
	if a == nil || b.Key().Compare(a.Key()) < 0 {
		return b
	}
	return a
}
