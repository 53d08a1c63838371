// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// lingering is how long a pod stays behind a service after its endpoint slices stopped saying so. When a pod is
// deleted, that may be reported before the deletion, and the pod's last connections must keep the service that they had.
const lingering = 2 * time.Second

// registry joins what the watches report, in whatever order, and publishes it in the index.
type registry struct {
	cluster  cluster
	nodeName string // of this process; empty: unknown
	retain   time.Duration
	index    *identity.Index

	mu       sync.Mutex
	pods     map[string]*podEntry // by namespace/name, as everything here
	services map[string]*service
	slices   map[string]*slice
	nodes    map[string]*node
	sites    map[string]*identity.Site // by the node's name; pods may be known before it
	of       map[string][]*slice       // of a service
	claims   map[netip.Addr][]*slice   // that list an address
	leaving  map[*podEntry]time.Time   // pods that are behind a service no more, and when that comes to count
	extra    []netip.Addr              // of this node's interfaces
}

// podEntry is what is kept of a pod, or of one that only a slice names. There are as many as pods: it has no field to spare.
type podEntry struct {
	workload *identity.Workload // as it is published; of a pod that is not known it has a UID only
	behind   sliceSet
	object   uint64 // distinguishes objects of one name; 0: the pod is not known
	round    uint32 // the last list that had it
}

func (e *podEntry) known() bool { return e.object != 0 }

// key is namespace/name.
func (e *podEntry) key() string { return e.workload.UID[len(uidOfPod):] }

// list is one listing of all objects of a kind.
type list struct {
	round uint32
	lost  time.Time // since when there was no watch; zero: always
}

func newRegistry(c cluster, nodeName string, retain time.Duration, index *identity.Index) *registry {
	return &registry{
		cluster: c, nodeName: nodeName, retain: retain, index: index,
		pods:     make(map[string]*podEntry),
		services: make(map[string]*service),
		slices:   make(map[string]*slice),
		nodes:    make(map[string]*node),
		sites:    make(map[string]*identity.Site),
		of:       make(map[string][]*slice),
		claims:   make(map[netip.Addr][]*slice),
		leaving:  make(map[*podEntry]time.Time),
	}
}

// missed is the end of what a list does not have any more: it may have ended at any time since the watch was lost.
func (l *list) missed(now time.Time) identity.Span {
	if l == nil || l.lost.IsZero() {
		return identity.Span{Until: now}
	}
	return identity.Span{Last: l.lost, Until: now, Unwatched: true}
}

func (l *list) number() uint32 {
	if l == nil {
		return 0
	}
	return l.round
}

// setPod takes a pod's present state; in is nil where that is news of a watch.
func (r *registry) setPod(p *pod, in *list, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.pods[p.key]
	if e != nil && e.known() && e.object != p.object {
		r.dropPod(e, in.missed(now), now) // it was deleted, and made again
		e = r.pods[p.key]
	}
	p.workload.Site = r.site(p.node)
	if p.over {
		r.endPod(e, p, in, now)
		return
	}
	r.index.Declare(p.workload.UID, p.ports)
	if e == nil {
		e = &podEntry{}
	}
	if !e.known() { // the key that a slice has made is let go: the workload's own is in its UID
		delete(r.pods, p.key)
		r.pods[p.key] = e
	}
	old := e.published()
	e.object = p.object
	if in != nil {
		e.round = in.round
	}
	w := p.workload
	w.Elsewhere = r.nodeName != "" && p.node != "" && p.node != r.nodeName
	r.publish(e, old, w, p.span(in != nil, now), now)
}

// endPod takes in a pod that ended by itself: its object stays long after it, and may be the first that shows its address.
func (r *registry) endPod(e *podEntry, p *pod, in *list, now time.Time) {
	span := p.span(in != nil, now)
	known := e != nil && e.known()
	switch {
	case span.Until.IsZero() && known:
		r.dropPod(e, in.missed(now), now)
	case !span.Until.IsZero() && (known || now.Sub(span.Until) < r.retain):
		if e != nil {
			p.workload.Services = r.memberships(e)
		}
		if known && len(p.workload.Addresses) == 0 {
			p.workload.Addresses = e.workload.Addresses
		}
		p.workload.Elsewhere = r.nodeName != "" && p.node != "" && p.node != r.nodeName
		if !known {
			r.index.Declare(p.workload.UID, p.ports)
			r.index.Swap(nil, p.workload, span, now)
			return
		}
		r.index.Swap(e.workload, p.workload, span, now)
		r.forgetPod(e, now)
	}
}

func (r *registry) entry(key string) *podEntry {
	e := r.pods[key]
	if e == nil {
		e = &podEntry{workload: &identity.Workload{UID: uidOfPod + key}}
		r.pods[e.key()] = e
	}
	return e
}

// published is the workload in the index; nil: there is none.
func (e *podEntry) published() *identity.Workload {
	if !e.known() {
		return nil
	}
	return e.workload
}

func (r *registry) removePod(key string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.pods[key]; e != nil && e.known() {
		r.dropPod(e, identity.Span{Until: now}, now)
	}
}

func (r *registry) dropPod(e *podEntry, end identity.Span, now time.Time) {
	r.index.Drop(e.workload, end, now)
	r.forgetPod(e, now)
}

// forgetPod follows the end of a pod in the index.
func (r *registry) forgetPod(e *podEntry, now time.Time) {
	had := e.workload
	e.workload, e.object = &identity.Workload{UID: had.UID}, 0
	delete(r.leaving, e)
	for _, a := range had.Addresses {
		r.rebind(a, e, nil, now)
	}
	r.release(e)
}

// release forgets an entry that nothing needs.
func (r *registry) release(e *podEntry) {
	if !e.known() && e.behind == nil {
		delete(r.pods, e.key())
	}
}

// publish puts a pod, or its new version, into the index. old is the version before; nil: there is none.
func (r *registry) publish(e *podEntry, old, w *identity.Workload, span identity.Span, now time.Time) {
	w.Services = r.memberships(e)
	if old != nil {
		w.Services = r.linger(e, old.Services, w.Services, now)
		if w.Equal(old) {
			return
		}
	}
	r.index.Swap(old, w, span, now)
	e.workload = w
	if old != nil && slices.Equal(old.Addresses, w.Addresses) || w.HostNetwork || len(r.claims) == 0 {
		return
	}
	for _, a := range w.Addresses {
		r.rebind(a, nil, e, now)
	}
}

// republish puts the services of a known pod into the index.
func (r *registry) republish(e *podEntry, now time.Time) {
	if e.known() {
		w := *e.workload
		r.publish(e, e.workload, &w, identity.Since(now, now), now)
	}
}

// rebind gives the claims of an address to the pod that has it now, of those from which nothing is taken but that of a former one.
func (r *registry) rebind(a netip.Addr, from, to *podEntry, now time.Time) {
	for _, s := range r.claims[a] {
		for i := range s.claims {
			c := &s.claims[i]
			if c.address != a || c.pod != from || to != nil && to.workload.Namespace() != s.namespace {
				continue
			}
			r.unclaim(s, c, now)
			c.pod = to
			r.claim(s, c, identity.Since(now, now), now)
			if to != nil {
				r.republish(to, now)
			}
		}
	}
}

// memberships are the services that a pod is behind, sorted. Pods in the same slices share them.
func (r *registry) memberships(e *podEntry) []identity.Membership {
	if e.behind == nil {
		return nil
	}
	all := make([]identity.Membership, 0, len(*e.behind))
	for _, s := range *e.behind {
		if !s.known {
			continue
		}
		at, twice := slices.BinarySearchFunc(all, s.behind.Service, compareMembership)
		switch {
		case !twice:
			all = slices.Insert(all, at, s.behind)
		case !slices.Equal(all[at].Ports, s.behind.Ports): // IPv4 and IPv6, or ports that differ from pod to pod
			ports := append(slices.Clone(all[at].Ports), s.behind.Ports...)
			slices.SortFunc(ports, comparePorts)
			all[at].Ports = slices.Compact(ports)
		}
	}
	first := (*e.behind)[0]
	if !slices.EqualFunc(first.common, all, sameMembership) {
		first.common = all
	}
	return first.common
}

func sameMembership(a, b identity.Membership) bool {
	return a.Service == b.Service && slices.Equal(a.Ports, b.Ports)
}

func compareMembership(m identity.Membership, key identity.ServiceKey) int {
	return m.Service.Compare(key)
}

// linger returns the memberships together with the former ones that still linger.
func (r *registry) linger(e *podEntry, had, has []identity.Membership, now time.Time) []identity.Membership {
	var lost []identity.Membership
	for _, m := range had {
		if _, still := slices.BinarySearchFunc(has, m.Service, compareMembership); !still {
			lost = append(lost, m)
		}
	}
	until, lingers := r.leaving[e]
	switch {
	case len(lost) == 0:
		delete(r.leaving, e)
		return has
	case !lingers:
		r.leaving[e] = now.Add(lingering)
	case !now.Before(until):
		delete(r.leaving, e)
		return has
	}
	has = slices.Clone(has) // it is shared
	for _, m := range lost {
		at, _ := slices.BinarySearchFunc(has, m.Service, compareMembership)
		has = slices.Insert(has, at, m)
	}
	return has
}

// tick ends what lingered long enough.
func (r *registry) tick(now time.Time) {
	r.mu.Lock()
	for e, until := range r.leaving {
		if !now.Before(until) {
			r.republish(e, now)
		}
	}
	r.mu.Unlock()
	r.index.Expire(now)
}

// sweepPods removes those that a list did not have.
func (r *registry) sweepPods(in *list, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.pods {
		if e.known() && e.round != in.round {
			r.dropPod(e, in.missed(now), now)
		}
	}
}
