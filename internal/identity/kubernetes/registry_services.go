// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func (r *registry) setService(s *service, in *list, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.published == nil {
		r.dropService(s.key, now)
		return
	}
	s.round = in.number()
	since := now
	if in != nil {
		since = earliest(s.created, now)
	}
	r.index.UpsertService(s.published, since, now)
	old := r.services[s.key]
	r.services[s.key] = s
	if old == nil || !slices.Equal(old.ports, s.ports) {
		r.resolve(s.key, s, now)
	}
}

func (r *registry) removeService(key string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropService(key, now)
}

func (r *registry) dropService(key string, now time.Time) {
	if old := r.services[key]; old != nil {
		r.index.RemoveService(old.published.Key(), now)
		delete(r.services, key)
		r.resolve(key, nil, now)
	}
}

// resolve updates the endpoints of a service that changed; nil: it is gone.
func (r *registry) resolve(key string, s *service, now time.Time) {
	for _, e := range r.of[key] {
		if s == nil {
			r.dropClaims(e, now)
		}
		e.resolve(s)
		r.publishClaims(e, identity.Since(now, now), now)
		for _, pod := range e.pods {
			r.republish(pod, now)
		}
		for i := range e.claims {
			if pod := e.claims[i].pod; pod != nil {
				r.republish(pod, now)
			}
		}
	}
}

func (r *registry) setSlice(s *slice, in *list, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.slices[s.key]
	if s.service == "" {
		r.replaceSlice(old, nil, identity.Since(now, now), now)
		return
	}
	s.round = in.number()
	since := now
	if in != nil {
		since = earliest(s.created, now)
	}
	s.resolve(r.services[s.service])
	r.replaceSlice(old, s, identity.Since(since, now), now)
}

func (r *registry) removeSlice(key string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replaceSlice(r.slices[key], nil, identity.Since(now, now), now)
}

// replaceSlice puts one version of a slice in place of another; either may be nil.
func (r *registry) replaceSlice(old, s *slice, since identity.Span, now time.Time) {
	touched := make(map[*podEntry]struct{})
	if old != nil {
		delete(r.slices, old.key)
		drop(r.of, old.service, old)
		for _, pod := range old.pods {
			pod.behind = old.without(pod.behind)
			touched[pod] = struct{}{}
		}
		for i := range old.claims {
			c := &old.claims[i]
			drop(r.claims, c.address, old)
			if c.pod != nil {
				c.pod.behind = old.without(c.pod.behind)
				touched[c.pod] = struct{}{}
			} else if s == nil || !slices.ContainsFunc(s.claims, func(d claim) bool { return d.address == c.address }) {
				r.index.Remove(r.cluster.outsideUID(old, c.address), now)
			}
		}
	}
	if s != nil {
		r.slices[s.key] = s
		r.of[s.service] = append(r.of[s.service], s)
		s.pods = make([]*podEntry, 0, len(s.names))
		for _, name := range s.names {
			e := r.entry(name)
			s.pods = append(s.pods, e)
			e.behind = s.with(e.behind)
			touched[e] = struct{}{}
		}
		s.names = nil
		for i := range s.claims {
			c := &s.claims[i]
			r.claims[c.address] = append(r.claims[c.address], s)
			if c.pod = r.podAt(s.namespace, c.address); c.pod != nil {
				touched[c.pod] = struct{}{}
				if old != nil {
					r.index.Remove(r.cluster.outsideUID(s, c.address), now)
				}
			}
			r.claim(s, c, since, now)
		}
	}
	for pod := range touched {
		r.republish(pod, now)
		r.release(pod)
	}
}

// podAt is the pod of a namespace that has an address for itself; nil: none is known.
func (r *registry) podAt(namespace string, a netip.Addr) *podEntry {
	w := r.index.HolderIn(namespace, a)
	if w == nil {
		return nil
	}
	e := r.pods[w.Namespace()+"/"+w.Name]
	if e == nil || e.workload != w {
		return nil
	}
	return e
}

// claim puts an address that a slice lists where it belongs: to a pod, or into the index as the address of an unknown holder.
func (r *registry) claim(s *slice, c *claim, since identity.Span, now time.Time) {
	if c.pod != nil {
		c.pod.behind = s.with(c.pod.behind)
		return
	}
	if of := r.services[s.service]; of != nil {
		r.index.Put(r.cluster.outside(s, of.published, c.address), since, now)
	}
}

// unclaim takes it away.
func (r *registry) unclaim(s *slice, c *claim, now time.Time) {
	if c.pod != nil {
		c.pod.behind = s.without(c.pod.behind)
		return
	}
	r.index.Remove(r.cluster.outsideUID(s, c.address), now)
}

func (r *registry) publishClaims(s *slice, since identity.Span, now time.Time) {
	of := r.services[s.service]
	if of == nil {
		return
	}
	for i := range s.claims {
		if c := &s.claims[i]; c.pod == nil {
			r.index.Put(r.cluster.outside(s, of.published, c.address), since, now)
		}
	}
}

func (r *registry) dropClaims(s *slice, now time.Time) {
	for i := range s.claims {
		if c := &s.claims[i]; c.pod == nil {
			r.index.Remove(r.cluster.outsideUID(s, c.address), now)
		}
	}
}

// with returns the slices of a pod that is in this one too. Pods in the same slices share the answer, which is never changed.
func (s *slice) with(set sliceSet) sliceSet {
	var all []*slice
	if set != nil {
		all = *set
	}
	if s.last != nil {
		if n := len(*s.last); n == len(all)+1 && slices.Equal((*s.last)[:n-1], all) {
			return s.last
		}
	}
	more := append(slices.Clip(all), s)
	s.last = &more
	return s.last
}

// without returns the slices of a pod that is not in one of them any more; nil: in none.
func (s *slice) without(set sliceSet) sliceSet {
	if set == nil {
		return nil
	}
	left := without(*set, s)
	if left == nil {
		return nil
	}
	return &left
}

func without(all []*slice, s *slice) []*slice {
	var left []*slice
	for _, e := range all {
		if e != s {
			left = append(left, e)
		}
	}
	return left
}

func drop[K comparable](from map[K][]*slice, key K, s *slice) {
	if left := without(from[key], s); left != nil {
		from[key] = left
	} else {
		delete(from, key)
	}
}

// sweepServices removes those that a list did not have, as sweepSlices and sweepNodes do.
func (r *registry) sweepServices(in *list, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.services {
		if s.round != in.round {
			r.dropService(key, now)
		}
	}
}

func (r *registry) sweepSlices(in *list, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slices {
		if s.round != in.round {
			r.replaceSlice(s, nil, identity.Since(now, now), now)
		}
	}
}
