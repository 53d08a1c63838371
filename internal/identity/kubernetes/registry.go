// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// lingering is how long a pod stays behind a service after its endpoint slices stopped saying so. When a pod is
// deleted, that may be reported before the deletion, and the pod's last connections must keep the service that they had.
const lingering = 2 * time.Second

// registry joins what the watches report, in whatever order, and publishes it in the index.
type registry struct {
	cluster cluster
	index   *identity.Index

	mu       sync.Mutex
	pods     map[string]published // by namespace/name, as everything here
	services map[string]*service
	slices   map[string]*slice
	of       map[string][]*slice  // of a service
	behind   map[string][]*slice  // that name a pod
	leaving  map[string]time.Time // pods that are behind a service no more, and when that comes to count
}

// published is what the index knows of a pod.
type published struct {
	uid      types.UID
	workload *identity.Workload
}

func newRegistry(c cluster, index *identity.Index) *registry {
	return &registry{
		cluster: c, index: index,
		pods:     make(map[string]published),
		services: make(map[string]*service),
		slices:   make(map[string]*slice),
		of:       make(map[string][]*slice),
		behind:   make(map[string][]*slice),
		leaving:  make(map[string]time.Time),
	}
}

func (r *registry) setPod(p *pod, initial bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := name(&p.ObjectMeta)
	if old, ok := r.pods[key]; ok && (old.uid != p.UID || p.workload == nil) {
		r.dropPod(key, now) // it may have been deleted, and made again, while nobody watched
	}
	if p.workload == nil {
		return
	}
	w := *p.workload // the informer keeps the other one
	r.publish(key, p.UID, &w, p.hadSince(initial, now), now)
}

func (r *registry) removePod(p *pod, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropPod(name(&p.ObjectMeta), now)
}

func (r *registry) dropPod(key string, now time.Time) {
	if old, ok := r.pods[key]; ok {
		r.index.Remove(old.workload.UID, now)
		delete(r.pods, key)
		delete(r.leaving, key)
	}
}

// publish puts a pod, or its new version, into the index.
func (r *registry) publish(key string, uid types.UID, w *identity.Workload, since, now time.Time) {
	w.Services = r.memberships(key)
	old, known := r.pods[key]
	if known {
		w.Services = r.linger(key, old.workload.Services, w.Services, now)
		if w.Equal(old.workload) {
			return
		}
	}
	r.index.Upsert(w, since, now)
	r.pods[key] = published{uid, w}
}

// republish puts the services of a known pod into the index.
func (r *registry) republish(key string, now time.Time) {
	if p, ok := r.pods[key]; ok {
		w := *p.workload
		r.publish(key, p.uid, &w, now, now)
	}
}

// memberships are the services that a pod is behind, sorted.
func (r *registry) memberships(key string) []identity.Membership {
	var all []identity.Membership
	for _, s := range r.behind[key] {
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
	return all
}

func compareMembership(m identity.Membership, key identity.ServiceKey) int {
	return m.Service.Compare(key)
}

// linger returns the memberships with those that the pod had, until their time has come.
func (r *registry) linger(key string, had, has []identity.Membership, now time.Time) []identity.Membership {
	lost := slices.DeleteFunc(slices.Clone(had), func(m identity.Membership) bool {
		_, still := slices.BinarySearchFunc(has, m.Service, compareMembership)
		return still
	})
	until, lingers := r.leaving[key]
	switch {
	case len(lost) == 0:
		delete(r.leaving, key)
		return has
	case !lingers:
		r.leaving[key] = now.Add(lingering)
	case !now.Before(until):
		delete(r.leaving, key)
		return has
	}
	for _, m := range lost {
		at, _ := slices.BinarySearchFunc(has, m.Service, compareMembership)
		has = slices.Insert(has, at, m)
	}
	return has
}

// tick ends what lingered long enough.
func (r *registry) tick(now time.Time) {
	r.mu.Lock()
	for key, until := range r.leaving {
		if !now.Before(until) {
			r.republish(key, now)
		}
	}
	r.mu.Unlock()
	r.index.Expire(now)
}

func (r *registry) setService(s *service, initial bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := name(&s.ObjectMeta)
	if s.published == nil {
		r.dropService(key, now)
		return
	}
	since := now
	if initial {
		since = earlier(s.CreationTimestamp.Time, now)
	}
	r.index.UpsertService(s.published, since, now)
	old := r.services[key]
	r.services[key] = s
	if old == nil || !maps.Equal(old.ports, s.ports) {
		r.resolve(key, s, now)
	}
}

func (r *registry) removeService(s *service, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropService(name(&s.ObjectMeta), now)
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
			r.dropOthers(e, e.others, now)
		}
		e.resolve(s)
		r.publishOthers(e, s, now, now)
		for _, pod := range e.pods {
			r.republish(pod, now)
		}
	}
}

func (r *registry) setSlice(s *slice, initial bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := name(&s.ObjectMeta)
	if s.service == "" {
		r.replaceSlice(r.slices[key], nil, now, now)
		return
	}
	since := now
	if initial {
		since = earlier(s.CreationTimestamp.Time, now)
	}
	s.resolve(r.services[s.service])
	r.replaceSlice(r.slices[key], s, since, now)
}

func (r *registry) removeSlice(s *slice, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replaceSlice(r.slices[name(&s.ObjectMeta)], nil, now, now)
}

// replaceSlice puts one version of a slice in place of another; either may be nil.
func (r *registry) replaceSlice(old, s *slice, since, now time.Time) {
	touched := make(map[string]struct{})
	if old != nil {
		delete(r.slices, name(&old.ObjectMeta))
		drop(r.of, old.service, old)
		for _, pod := range old.pods {
			drop(r.behind, pod, old)
			touched[pod] = struct{}{}
		}
		gone := old.others
		if s != nil {
			gone = slices.DeleteFunc(slices.Clone(gone), func(a netip.Addr) bool { return slices.Contains(s.others, a) })
		}
		r.dropOthers(old, gone, now)
	}
	if s != nil {
		r.slices[name(&s.ObjectMeta)] = s
		r.of[s.service] = append(r.of[s.service], s)
		for _, pod := range s.pods {
			r.behind[pod] = append(r.behind[pod], s)
			touched[pod] = struct{}{}
		}
		r.publishOthers(s, r.services[s.service], since, now)
	}
	for pod := range touched {
		r.republish(pod, now)
	}
}

// publishOthers puts the addresses that are no pod's into the index.
func (r *registry) publishOthers(s *slice, of *service, since, now time.Time) {
	if of == nil {
		return
	}
	for _, at := range s.others {
		r.index.Upsert(r.cluster.outside(s, of.published, at), since, now)
	}
}

func (r *registry) dropOthers(s *slice, gone []netip.Addr, now time.Time) {
	if !s.known {
		return
	}
	for _, at := range gone {
		r.index.Remove(r.cluster.outsideUID(s, at), now)
	}
}

func drop(from map[string][]*slice, key string, s *slice) {
	if left := slices.DeleteFunc(from[key], func(e *slice) bool { return e == s }); len(left) > 0 {
		from[key] = left
	} else {
		delete(from, key)
	}
}

func (r *registry) setNode(n *node, initial bool, now time.Time) {
	since := now
	if initial {
		since = earlier(n.CreationTimestamp.Time, now)
	}
	r.index.Upsert(n.workload, since, now)
}

func (r *registry) removeNode(n *node, now time.Time) { r.index.Remove(n.workload.UID, now) }
