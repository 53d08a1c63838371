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

type responseFlags uint8

const (
	flagNone    responseFlags = iota // "-"
	flagConnect                      // the connect failed
)

// traits are the labels that tell flows between the same ends apart.
type traits struct {
	direction flow.Direction
	flags     responseFlags
	mutualTLS bool
}

// serviceNames are by value, not by the resolver's pointer: a service that is published anew keeps its series.
type serviceNames struct{ host, name, namespace string }

// podNames name the destination's pod, or VM; place is in the address's label where the series stands for many addresses.
type podNames struct{ name, namespace, place string }

var (
	unknownPod = unique.Make(podNames{name: unknown, namespace: unknown})
	networkPod = unique.Make(podNames{name: unknown, namespace: unknown, place: unknown})
	otherPod   = unique.Make(podNames{name: unknown, namespace: unknown, place: Other})
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

func serviceKeyOf(f *flow.Flow, t traits, r *reservation) serviceKey {
	key := serviceKey{source: r.names(f.Source), destination: r.names(f.Destination), traits: t}
	requested := f.Requested().Addr()
	switch {
	case f.Service != nil:
		key.service = unique.Make(serviceNames{f.Service.Host, f.Service.Name, f.Service.Namespace})
	case f.RequestedNetwork != nil:
		key.service = unique.Make(serviceNames{f.RequestedNetwork.Name, unknown, unknown})
	// The address of a workload is bounded as workloads are.
	case f.Destination.Known() && requested == f.Connection.Destination.Addr(), r.reserve(requested):
		key.address = requested
	default:
		key.service = otherService
	}
	return key
}

func workloadKeyOf(f *flow.Flow, t traits, r *reservation) workloadKey {
	key := workloadKey{source: r.names(f.Source), destination: r.names(f.Destination), traits: t}
	w, address := f.Destination, f.Connection.Destination.Addr()
	switch {
	case w.Known():
		key.pod, key.address = unique.Make(podNames{w.Name, w.Namespace, ""}), address
	case w != nil && w.Kind == identity.KindNetwork:
		key.pod = networkPod
	case !r.reserve(address):
		key.pod = otherPod
	case w != nil:
		key.pod, key.address = unique.Make(podNames{w.Name, w.Namespace, ""}), address
	default:
		key.pod, key.address = unknownPod, address
	}
	return key
}

func namesOf(w *identity.Workload) unique.Handle[identity.Names] {
	if w == nil {
		return unknownNames
	}
	return w.Names
}
