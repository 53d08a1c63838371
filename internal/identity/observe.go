// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"time"
)

// Observer gets every change of an index: the version before and the present one, of which either may be nil. It is called while
// the index is locked: it must not wait, nor call the index.
type Observer interface {
	WorkloadChanged(old, w *Workload)
	ServiceChanged(old, s *Service)
}

// Observe has the observer called. Call it before anything is put into the index.
func (x *Index) Observe(o Observer) { x.observer = o }

func (x *Index) observed(old, w *Workload) {
	if x.observer != nil && (old != nil || w != nil) {
		x.observer.WorkloadChanged(old, w)
	}
}

func (x *Index) observedService(old, s *Service) {
	if x.observer != nil {
		x.observer.ServiceChanged(old, s)
	}
}

// Holder is who has an address now, and what is known of since when.
type Holder struct {
	*Workload
	Span Span
}

// Holders returns who has an address now. It takes no lock.
func (x *Index) Holders(a netip.Addr) []Holder {
	h := x.holders.read(addressOf(plainAddr(a)))
	if h == nil {
		return nil
	}
	var all []Holder
	for t := range h.all {
		if t.open() {
			all = append(all, Holder{t.holder, t.span()})
		}
	}
	return all
}

// span is what a tenure that lasts shows of its beginning.
func (t *tenure[T]) span() Span {
	s := Span{From: t.from.time(), Reported: t.begins.mark()}
	if v := t.begins.length(); v > 0 && !s.From.IsZero() {
		s.Sure = s.From.Add(v)
	}
	return s
}

// time is the moment on the wall clock; zero: always.
func (m moment) time() time.Time {
	if m == always {
		return time.Time{}
	}
	return processBegan.Add(time.Duration(m)).Round(0)
}

// ServicesAt returns the services that have an address now. It takes no lock.
func (x *Index) ServicesAt(a netip.Addr) []*Service {
	h := x.byAddress.read(addressOf(plainAddr(a)))
	if h == nil {
		return nil
	}
	var all []*Service
	for t := range h.all {
		if t.open() {
			all = append(all, t.holder)
		}
	}
	return all
}

// ServiceBy returns a service that is there; nil: it is not.
func (x *Index) ServiceBy(key ServiceKey) *Service {
	return x.serviceNow(key)
}

// Since returns since when a workload has the first of its addresses.
func (x *Index) Since(w *Workload) Span {
	if len(w.Addresses) > 0 {
		for _, h := range x.Holders(w.Addresses[0]) {
			if h.UID == w.UID {
				return h.Span
			}
		}
	}
	return Span{}
}

// Doubted returns whether it is unknown what happened to the addresses at the time: there was no watch.
func (x *Index) Doubted(now time.Time) bool { return x.gapInto(momentOf(now)) >= 0 }
