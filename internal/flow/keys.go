package flow

import (
	"net/netip"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const unknown = identity.Unknown

// unknownNames are those of an end that is nobody we know: not even a revision, which a workload always has.
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
	direction Direction
	flags     responseFlags
	mutualTLS bool
}

// serviceNames are by value, not by the resolver's pointer: a service that is published anew keeps its series.
type serviceNames struct{ host, name, namespace string }

// podNames name the destination's pod, or VM.
type podNames struct{ name, namespace string }

var unknownPod = unique.Make(podNames{name: unknown, namespace: unknown})

// serviceKey is a series of the service set.
type serviceKey struct {
	source, destination unique.Handle[identity.Names]
	service             unique.Handle[serviceNames] // zero: no known service, address stands for it
	address             netip.Addr                  // zero when service is known
	traits              traits
}

// workloadKey is a series of the workload set.
type workloadKey struct {
	source, destination unique.Handle[identity.Names]
	pod                 unique.Handle[podNames]
	address             netip.Addr // of the pod
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

func serviceKeyOf(f *Flow, t traits) serviceKey {
	key := serviceKey{source: namesOf(f.Source), destination: namesOf(f.Destination), traits: t}
	if f.Service == nil {
		key.address = f.askedFor().Addr()
		return key
	}
	key.service = unique.Make(serviceNames{f.Service.Host, f.Service.Name, f.Service.Namespace})
	return key
}

func workloadKeyOf(f *Flow, t traits) workloadKey {
	key := workloadKey{
		source: namesOf(f.Source), destination: namesOf(f.Destination),
		pod: unknownPod, address: f.Connection.Destination.Addr(), traits: t,
	}
	if w := f.Destination; w != nil {
		key.pod = unique.Make(podNames{w.Name, w.Namespace})
	}
	return key
}

func namesOf(w *identity.Workload) unique.Handle[identity.Names] {
	if w == nil {
		return unknownNames
	}
	return w.Names
}

// askedFor is the destination as the application knows it.
func (f *Flow) askedFor() netip.AddrPort {
	if f.Connection.Original.IsValid() {
		return f.Connection.Original
	}
	return f.Connection.Destination
}

// DestinationService is the service's host name, else the address that the application asked for.
func (f *Flow) DestinationService() string {
	if f.Service != nil {
		return f.Service.Host
	}
	return f.askedFor().Addr().String()
}
