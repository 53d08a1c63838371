// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"time"
)

// Service returns the destination's service.
func (x *Index) Service(original, destination netip.AddrPort, w *Workload, at time.Time) *Service {
	asked := original
	if !asked.IsValid() {
		asked = destination
	}
	moment := momentOf(at)
	if s := x.serviceAt(asked, destination, moment); s != nil {
		return s
	}
	if w == nil {
		return nil
	}
	if s := x.serviceOf(w, destination.Port(), moment); s != nil {
		return s
	}
	// A mesh that takes the connection to another port of the same workload hides the port that was meant.
	if plainAddr(asked.Addr()) == plainAddr(destination.Addr()) && asked.Port() != destination.Port() {
		if s := x.serviceOf(w, asked.Port(), moment); s != nil {
			return s
		}
	}
	if len(w.Services) == 1 {
		return x.service(w.Services[0].Service, moment)
	}
	return nil
}

// serviceAt is the service that listens at an address. Anybody may list any address as an external one of his service: one that
// is a workload's own, or another service's, counts only where the packets really went elsewhere.
func (x *Index) serviceAt(asked, destination netip.AddrPort, at moment) *Service {
	a := plainAddr(asked.Addr())
	h := x.byAddress.read(addressOf(a))
	if h == nil {
		return x.nodePortAt(asked, at)
	}
	var own, external *Service
	if former := h.former(at); former != nil && !former.covers(at) {
		// kube-proxy's rules go after the service: the time until the next one has the address is the former one's.
		if !former.holder.external(a) && former.holder.listens(asked.Port()) {
			return former.holder
		}
	}
	moment, ok, _ := h.moment(at, x.lag)
	if !ok {
		return x.nodePortAt(asked, at)
	}
	for t := range h.all {
		switch {
		case !t.covers(moment) || !t.holder.listens(asked.Port()):
		case t.holder.external(a):
			external = lower(external, t.holder)
		default:
			own = lower(own, t.holder)
		}
	}
	translated := plainAddr(destination.Addr()) != a
	switch {
	case own != nil && (translated || !x.owned(a, at)):
		return own
	case external != nil && (translated || !x.owned(a, at)) && (own == nil && !x.clusterIP(h, a, moment)):
		return external
	}
	return x.nodePortAt(asked, at)
}

// nodePortAt is the service behind a node's address and port.
func (x *Index) nodePortAt(asked netip.AddrPort, at moment) *Service {
	s := x.nodePort(asked.Port(), at)
	if s == nil || x.nodeAt(addressOf(plainAddr(asked.Addr())), at) == nil {
		return nil
	}
	return s
}

// clusterIP returns whether the address is a service's own, whatever its ports.
func (x *Index) clusterIP(h *history[Service], a netip.Addr, at moment) bool {
	for t := range h.all {
		if t.covers(at) && !t.holder.external(a) {
			return true
		}
	}
	return false
}

// owned returns whether a workload has the address for itself.
func (x *Index) owned(a netip.Addr, at moment) bool {
	h := x.holders.read(addressOf(a))
	if h == nil {
		return false
	}
	at, ok, _ := h.moment(at, x.lagAt(at))
	if !ok {
		return false
	}
	w, verdict := ownerOf(h, at)
	return w != nil || verdict != undisputed
}

// serviceOf is the service of a workload that ends at the workload's port.
func (x *Index) serviceOf(w *Workload, target uint16, at moment) *Service {
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

func (x *Index) service(key ServiceKey, at moment) *Service {
	h := x.byIdentity.read(key)
	if h == nil {
		return nil
	}
	at, ok, _ := h.moment(at, x.lag)
	if !ok {
		return nil
	}
	for t := range h.all {
		if t.covers(at) {
			return t.holder
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
