// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// registry holds the resources of istiod, and publishes in the index those that are in the node's own network.
type registry struct {
	config   *Config
	nodeName string
	index    *identity.Index

	mu      sync.Mutex
	entries map[string]*entry // by the resource's name
	network string            // whose addresses are published
	// How many workloads of each network are on this node, and in this cluster.
	onNode, inCluster map[string]int
}

func newRegistry(config *Config, nodeName string, index *identity.Index) *registry {
	return &registry{
		config: config, nodeName: nodeName, index: index, network: config.Network,
		entries: make(map[string]*entry), onNode: make(map[string]int), inCluster: make(map[string]int),
	}
}

// change is one response.
type change struct {
	put    map[string]*entry
	remove []string
	// whole means that what is neither put nor kept is gone.
	whole bool
	kept  map[string]bool
	// lost is since when the source may have missed something; zero: it did not. first is the very first response, whose
	// resources existed before.
	lost  time.Time
	first bool
}

// spans are when the workloads of a response got and gave up their addresses.
func (c *change) spans(now time.Time) (got, left identity.Span) {
	switch {
	case c.first:
		return identity.Span{}, identity.Span{Until: now}
	case !c.lost.IsZero():
		// When an address was handed on is not known: rather than the wrong workload, nobody is named for a connection that
		// began in between.
		return identity.Span{From: c.lost, Sure: now}, identity.Span{Last: c.lost, Until: now, Unwatched: true}
	}
	return identity.Since(now, now), identity.Span{Until: now}
}

// apply takes a response in, and publishes it.
func (r *registry) apply(c *change, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got, left := c.spans(now)
	for name, e := range r.gone(c) {
		r.withdraw(e, left, now)
		r.count(e, -1)
		delete(r.entries, name)
	}
	// Losses come first: an address that passes on has one holder only.
	for name, e := range c.put {
		old := r.entries[name]
		if old == nil {
			continue
		}
		r.count(old, -1)
		if !old.sameIdentity(e) {
			r.withdraw(old, left, now)
			continue
		}
		r.release(old, func(a netip.Addr) bool { return !e.has(r.network, a) }, left, now)
	}
	for name, e := range c.put {
		r.count(e, 1)
		r.entries[name] = e
	}
	if network := r.own(); network != r.network {
		// What was published as another network's is in this one after all, and vice versa.
		r.network = network
		for _, e := range r.entries {
			r.publish(e, got, now)
		}
		return
	}
	for _, e := range c.put {
		r.publish(e, got, now)
	}
}

// gone are the entries that a response ends.
func (r *registry) gone(c *change) map[string]*entry {
	gone := make(map[string]*entry)
	for _, name := range c.remove {
		if e := r.entries[name]; e != nil && c.put[name] == nil {
			gone[name] = e
		}
	}
	if c.whole {
		for name, e := range r.entries {
			if c.put[name] == nil && !c.kept[name] {
				gone[name] = e
			}
		}
	}
	return gone
}

// release ends the workload's tenure of some of its addresses.
func (r *registry) release(e *entry, loses func(netip.Addr) bool, left identity.Span, now time.Time) {
	if e.workload == nil {
		return
	}
	had := e.within(r.network)
	if has := slices.DeleteFunc(slices.Clone(had), loses); len(has) < len(had) {
		w := *e.workload
		w.Addresses, w.Elsewhere = has, r.elsewhere(e)
		r.index.Replace(&w, identity.Since(now, now), left, now)
	}
}

// publish puts an entry into the index. No connection can meet one that has no address here. Only services are
// needed all the same, because the workloads behind them name them.
func (r *registry) publish(e *entry, got identity.Span, now time.Time) {
	here := e.within(r.network)
	switch {
	case e.service != nil:
		s := *e.service
		s.Addresses = here
		r.index.UpsertService(&s, got.From, now)
	case len(here) == 0:
		r.index.Remove(e.workload.UID, now)
	default:
		w := *e.workload
		w.Addresses, w.Elsewhere = here, r.elsewhere(e)
		r.index.Put(&w, got, now)
	}
}

// elsewhere returns whether a workload is on another node than this one.
func (r *registry) elsewhere(e *entry) bool {
	return r.nodeName != "" && e.node != "" && e.node != r.nodeName
}

func (r *registry) withdraw(e *entry, left identity.Span, now time.Time) {
	if e.service != nil {
		r.index.RemoveService(e.service.Key(), now)
		return
	}
	r.index.RemoveAt(e.workload.UID, left, now)
}

// count keeps the tallies that decide the node's own network.
func (r *registry) count(e *entry, n int) {
	if e.workload == nil || e.cluster != r.config.ClusterID {
		return
	}
	add := func(to map[string]int) {
		if to[e.network] += n; to[e.network] == 0 {
			delete(to, e.network)
		}
	}
	add(r.inCluster)
	if e.node != "" && e.node == r.nodeName {
		add(r.onNode)
		r.index.Placed()
	}
}

// own returns the network that the node is in: the one that the settings name, else that of most workloads on the node, else
// that of most workloads of the cluster. Ties go to the lowest name.
func (r *registry) own() string {
	if r.config.Network != "" {
		return r.config.Network
	}
	for _, tally := range []map[string]int{r.onNode, r.inCluster} {
		if network, ok := most(tally); ok {
			return network
		}
	}
	return r.network
}

// most returns the network that a tally has most of.
func most(tally map[string]int) (best string, ok bool) {
	highest := 0
	for network, n := range tally {
		if n > highest || n == highest && network < best {
			best, highest = network, n
		}
	}
	return best, len(tally) > 0
}

// versions are the known ones, for the first request of a new stream.
func (r *registry) versions() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	versions := make(map[string]string, len(r.entries))
	for name, e := range r.entries {
		versions[name] = e.version
	}
	return versions
}
