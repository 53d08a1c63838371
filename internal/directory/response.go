// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
)

// answer gathers a response.
type answer struct {
	stream  *stream
	put     map[string]*discovery.Resource
	removed map[string]struct{}
}

// response is what the agent is to be sent now. It takes what was noted, and reads the index after that, so that a change that
// comes meanwhile is noted again.
func (st *stream) response() *discovery.DeltaDiscoveryResponse {
	st.mu.Lock()
	type changed struct {
		address netip.Addr
		sub     *subscription
		fresh   bool
	}
	dirty := make([]changed, 0, len(st.dirty))
	for a, fresh := range st.dirty {
		dirty = append(dirty, changed{a, st.subs[a], fresh})
	}
	clear(st.dirty)
	local, names := st.local, st.names
	st.local, st.names = make(map[string]struct{}), make(map[string]struct{})
	held := st.held
	st.held = nil
	st.mu.Unlock()

	r := &answer{stream: st, put: make(map[string]*discovery.Resource), removed: make(map[string]struct{})}
	for _, c := range dirty {
		r.address(c.address, c.sub, c.fresh, held)
	}
	for uid := range local {
		r.local(uid, held)
	}
	for name := range names {
		r.named(name, held)
	}
	response := &discovery.DeltaDiscoveryResponse{TypeUrl: istio.AddressType, RemovedResources: slices.Sorted(maps.Keys(r.removed))}
	for _, name := range slices.Sorted(maps.Keys(r.put)) {
		response.Resources = append(response.Resources, r.put[name])
	}
	return response
}

// address answers for a subscription; fresh: the agent waits for an answer.
func (r *answer) address(a netip.Addr, sub *subscription, fresh bool, held map[string]string) {
	index := r.stream.server.index
	var present []sent
	add := func(name string, resource *discovery.Resource) {
		present = append(present, sent{name, resource.Version})
		if !fresh && slices.Contains(sub.sent, sent{name, resource.Version}) || held[name] == resource.Version {
			return
		}
		r.put[name] = resource
	}
	for _, h := range index.Holders(a) {
		add(h.UID, workload(h.Workload, h.Span))
	}
	for _, s := range index.ServicesAt(a) {
		add(istio.ServiceName(s.Key()), service(s))
	}
	for _, before := range sub.sent {
		if !slices.ContainsFunc(present, func(now sent) bool { return now.name == before.name }) {
			r.left(before.name)
		}
	}
	if len(present) == 0 && (fresh || len(sub.sent) > 0) {
		r.removed[istio.AddressName("", a)] = struct{}{}
	}
	sub.sent = present
}

// left sends the present state of a resource that is no longer at an address.
func (r *answer) left(name string) {
	if resource := r.lookUp(name); resource != nil {
		r.put[name] = resource // it is elsewhere
	} else {
		r.removed[name] = struct{}{}
	}
}

// local sends a workload of the agent's node.
func (r *answer) local(uid string, held map[string]string) {
	st := r.stream
	w := st.server.workload(uid)
	version, had := st.mine[uid]
	switch {
	case w != nil && w.NodeName.String() == st.node && len(w.Addresses) > 0:
		resource := workload(w, st.server.index.Since(w))
		if had && version == resource.Version {
			return
		}
		st.mine[uid] = resource.Version
		if held[uid] != resource.Version {
			r.put[uid] = resource
		}
	case had:
		delete(st.mine, uid)
		r.left(uid)
	}
}

// named answers for a resource by its own name, once: what the agent had before it came, or asks for by name.
func (r *answer) named(name string, held map[string]string) {
	resource := r.lookUp(name)
	version, had := held[name]
	switch {
	case resource == nil:
		r.removed[name] = struct{}{}
	case !had || version != resource.Version:
		r.put[name] = resource
	}
}

// lookUp returns the resource of a name; nil: there is none.
func (r *answer) lookUp(name string) *discovery.Resource {
	index := r.stream.server.index
	if w := r.stream.server.workload(name); w != nil {
		return workload(w, index.Since(w))
	}
	if namespace, host, ok := strings.Cut(name, "/"); ok {
		if namespace == "" {
			namespace = identity.Unknown
		}
		if s := index.ServiceBy(identity.ServiceKey{Namespace: namespace, Host: host}); s != nil {
			return service(s)
		}
	}
	return nil
}

func workload(w *identity.Workload, since identity.Span) *discovery.Resource {
	return istio.NewResource(w.UID, istio.AddressOf(w), istio.Provenance{
		From: since.From, Sure: since.Sure, Reported: since.Reported, Pod: w.PodUID, Node: w.Node, Claimed: w.Claimed,
	})
}

func service(s *identity.Service) *discovery.Resource {
	return istio.NewResource(istio.ServiceName(s.Key()), istio.AddressOfService(s), istio.Provenance{})
}
