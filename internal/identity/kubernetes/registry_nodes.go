// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func (r *registry) setNode(n *node, in *list, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n.round = in.number()
	r.nodes[n.name] = n
	n.workload.Site = r.site(n.name)
	n.workload.Site.Set(n.region, n.zone)
	since := now
	if in != nil {
		since = earliest(n.created, now)
	}
	if n.name == r.nodeName {
		r.index.Placed()
		n.workload.Addresses = r.ownAddresses(n)
	}
	r.index.Upsert(n.workload, since, now)
}

func (r *registry) removeNode(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropNode(name, now)
	r.sweepSites() // those of nodes that went before: its own pods are still there
}

func (r *registry) dropNode(name string, now time.Time) {
	if n := r.nodes[name]; n != nil {
		r.index.Remove(n.workload.UID, now)
		delete(r.nodes, name)
	}
}

// site is that of a node, known or not; nil: a pod has no node yet.
func (r *registry) site(node string) *identity.Site {
	if node == "" {
		return nil
	}
	s := r.sites[node]
	if s == nil {
		s = &identity.Site{}
		r.sites[node] = s
	}
	return s
}

func (r *registry) sweepNodes(in *list, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range r.nodes {
		if n.round != in.round {
			r.dropNode(name, now)
		}
	}
	r.sweepSites()
}

// sweepSites forgets the sites of nodes that are gone and that no pod is on.
func (r *registry) sweepSites() {
	used := make(map[*identity.Site]bool, len(r.sites))
	for _, e := range r.pods {
		used[e.workload.Site] = true
	}
	for name, site := range r.sites {
		if r.nodes[name] == nil && !used[site] {
			delete(r.sites, name)
		}
	}
}

// setInterfaces gives this node the addresses of its interfaces, which are in no status: those of bridges and tunnels. If none of
// them is in its status, the interfaces are another namespace's, and say nothing.
func (r *registry) setInterfaces(addresses []netip.Addr, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.extra = addresses
	n := r.nodes[r.nodeName]
	if n == nil {
		return
	}
	w := *n.workload
	if w.Addresses = r.ownAddresses(n); slices.Equal(w.Addresses, n.workload.Addresses) {
		return
	}
	n.workload = &w
	r.index.Upsert(&w, time.Time{}, now)
}

// ownAddresses are those of this node. In IPVS mode, kube-proxy gives an interface the addresses of all services.
func (r *registry) ownAddresses(n *node) []netip.Addr {
	all := slices.Clone(n.reported)
	if !slices.ContainsFunc(r.extra, func(a netip.Addr) bool { return slices.Contains(n.reported, a) }) {
		return all
	}
	for _, a := range r.extra {
		if !slices.Contains(all, a) && !r.index.IsService(a) && !r.isPod(a) {
			all = append(all, a)
		}
	}
	return all
}

// isPod returns whether a pod has the address for itself.
func (r *registry) isPod(a netip.Addr) bool {
	w, _ := r.index.Resolve(identity.End{Address: netip.AddrPortFrom(a, 0)}, time.Now())
	return w != nil && !w.HostNetwork
}
