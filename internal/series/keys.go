// SPDX-License-Identifier: Apache-2.0

package series

import (
	"net/netip"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const unknown = identity.Unknown

// unknownNames are those of an unknown end: not even a revision, which a workload always has.
var unknownNames = unique.Make(identity.Names{
	Workload: unknown, CanonicalService: unknown, CanonicalRevision: unknown,
	Namespace: unknown, Principal: unknown, Cluster: unknown,
})

// The values of response_flags without a reason.
var (
	noFlags      = unique.Make(unknown)
	flagsConnect = unique.Make("CONNECT") // of failed connects, unless reasons are asked for or known
)

// traits are the labels that distinguish flows between the same ends. A record hashes them with its key, so texts are handles.
type traits struct {
	flags     unique.Handle[string]     // [noFlags] unless the connect failed
	topology  unique.Handle[topologies] // zero unless labels show it
	direction flow.Direction
	mutualTLS bool
}

// topologies are those of both ends.
type topologies struct{ source, destination identity.Topology }

// serviceNames are by value, not by the resolver's pointer: a service that is published anew keeps its series.
type serviceNames struct{ host, name, namespace string }

// podNames name the destination's pod, or VM; place is in the address's label where the series stands for many addresses.
type podNames struct{ name, namespace, place string }

var (
	unknownPod = podNames{name: unknown, namespace: unknown}
	networkPod = podNames{name: unknown, namespace: unknown, place: unknown}
	otherPod   = podNames{name: unknown, namespace: unknown, place: other}
)

// serviceKey is a series of the service set.
type serviceKey struct {
	source, destination unique.Handle[identity.Names]
	service             unique.Handle[serviceNames] // or what stands for many addresses; zero: address stands for it
	address             netip.Addr                  // zero when service is not
	traits              traits
}

// workloadKey is a series of the workload set.
type workloadKey struct {
	source, destination unique.Handle[identity.Names]
	pod                 unique.Handle[podNames]
	address             netip.Addr // of the pod; zero where pod has a place
	traits              traits
}

// connectionKey is a series of the connection set: one end of one connection.
type connectionKey struct {
	id uint64
}

func (k serviceKey) ends() [2]unique.Handle[identity.Names] {
	return [2]unique.Handle[identity.Names]{k.source, k.destination}
}
func (k workloadKey) ends() [2]unique.Handle[identity.Names] {
	return [2]unique.Handle[identity.Names]{k.source, k.destination}
}

func serviceKeyOf(f *flow.Flow, t traits, c *choice, r *reservation) serviceKey {
	key := serviceKey{source: r.names(f.Source, c, &c.source), destination: r.names(f.Destination, c, &c.destination), traits: t}
	requested := f.Requested().Addr()
	switch {
	case f.Service != nil:
		key.service = c.serviceOf(f.Service)
	case f.RequestedNetwork != nil:
		key.service = c.reduceService(serviceNames{f.RequestedNetwork.Name, unknown, unknown})
	case c.istio, !c.labels.has(labelService):
		key.service = c.serviceOf(nil)
	// The address of a workload is bounded as workloads are.
	case f.Destination.Known() && requested == f.Connection.Destination.Addr(), r.reserve(requested):
		key.address = requested
	default:
		key.service = c.reduceService(serviceNames{other, unknown, unknown})
	}
	return key
}

func workloadKeyOf(f *flow.Flow, t traits, c *choice, r *reservation) workloadKey {
	key := workloadKey{source: r.names(f.Source, c, &c.source), destination: r.names(f.Destination, c, &c.destination), traits: t}
	w, address := f.Destination, f.Connection.Destination.Addr()
	key.pod = c.podOf(w)
	switch {
	case w.Known():
	case w != nil && w.Kind == identity.KindNetwork:
		address = netip.Addr{}
	case c.showsPodAddress(w) && !r.reserve(address):
		key.pod, address = c.reducePod(otherPod), netip.Addr{}
	}
	if c.labels.has(labelPodAddress) {
		key.address = address
	}
	return key
}

// showsPodAddress returns whether the labels of the pod contain the address of a destination that is no workload.
func (c *choice) showsPodAddress(w *identity.Workload) bool {
	return c.labels.has(labelPodAddress) || w != nil && c.labels.has(labelPodName)
}

func namesOf(w *identity.Workload) unique.Handle[identity.Names] {
	if w == nil {
		return unknownNames
	}
	return w.Names
}
