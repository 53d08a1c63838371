// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// slice is what is kept of an EndpointSlice: who is behind a service, at which ports.
type slice struct {
	key       string // namespace/name
	namespace string
	service   string // namespace/name; empty: it is of no service, or has names instead of addresses
	named     []namedPort
	names     []string // of the pods, until the registry has found them
	pods      []*podEntry
	claims    []claim
	created   time.Time
	round     uint32 // the last list that had it
	// behind is what being in this slice means, once the service is known. The registry's, as is the rest.
	behind identity.Membership
	known  bool
	// common are the memberships of a pod in this slice; those of its other pods are the same, as a rule.
	common []identity.Membership
	last   sliceSet // what with returned last
}

// sliceSet are the slices that a pod is in; nil: none. Pods share it, and it is never changed.
type sliceSet *[]*slice

// claim is an address behind a service for which the slice names no pod of its own namespace.
type claim struct {
	address netip.Addr
	pod     *podEntry // whose address it is, of the slice's namespace; nil: no known pod's
}

// namedPort is a port of the pods, by the name that the service's port has.
type namedPort struct {
	name   string
	number uint16
}

func sliceOf(e *discoveryv1.EndpointSlice) *slice {
	s := &slice{key: e.Namespace + "/" + e.Name, namespace: shared(e.Namespace), created: e.CreationTimestamp.Time}
	of := e.Labels[discoveryv1.LabelServiceName]
	if of == "" || e.AddressType == discoveryv1.AddressTypeFQDN {
		return s
	}
	s.service = e.Namespace + "/" + of
	for i := range e.Ports {
		// No number means every port, which does not help.
		if p := &e.Ports[i]; p.Port != nil && (p.Protocol == nil || isTCP(*p.Protocol)) {
			s.named = append(s.named, namedPort{shared(value(p.Name)), uint16(*p.Port)})
		}
	}
	for i := range e.Endpoints {
		// Whether it is ready does not matter: what is not, or not any more, still has its connections. Whoever may write a slice
		// can name a pod of any namespace: only one of his own counts.
		endpoint := &e.Endpoints[i]
		if t := endpoint.TargetRef; t != nil && t.Kind == "Pod" && cmp.Or(t.Namespace, e.Namespace) == e.Namespace {
			s.names = append(s.names, e.Namespace+"/"+t.Name)
			continue
		}
		for _, a := range parse(endpoint.Addresses) {
			if !slices.ContainsFunc(s.claims, func(c claim) bool { return c.address == a }) {
				s.claims = append(s.claims, claim{address: a})
			}
		}
	}
	return s
}

// resolve joins the slice with the service that it belongs to; nil: unknown.
func (s *slice) resolve(of *service) {
	s.known = of != nil
	if !s.known {
		s.behind = identity.Membership{}
		return
	}
	ports := make([]identity.Port, 0, len(s.named))
	for _, p := range s.named {
		number, ok := of.port(p.name)
		if !ok {
			number = p.number // a headless service need not list its ports
		}
		ports = append(ports, identity.Port{Service: number, Target: p.number})
	}
	slices.SortFunc(ports, comparePorts)
	s.behind = identity.Membership{Service: of.published.Key(), Ports: slices.Compact(ports)}
}

func comparePorts(a, b identity.Port) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Target, b.Target))
}

// trusted returns whether only the cluster's own components write such a slice: they list addresses of nodes.
func (s *slice) trusted() bool {
	return s.namespace == "kube-system" || s.service == "default/kubernetes"
}

// outside names an address behind a service that is no pod's: a database, or the API server itself. Others may have the
// address too, as every process of its machine does.
func (c *cluster) outside(s *slice, of *identity.Service, at netip.Addr) *identity.Workload {
	return &identity.Workload{
		UID:         c.outsideUID(s, at),
		Name:        of.Name,
		Names:       identity.Names{Workload: of.Name, Namespace: of.Namespace, Cluster: c.id}.Handle(),
		HostNetwork: true,
		Claimed:     !s.trusted(),
		Addresses:   []netip.Addr{at},
		Services:    []identity.Membership{s.behind},
	}
}

func (c *cluster) outsideUID(s *slice, at netip.Addr) string {
	return c.id + "/discovery.k8s.io/EndpointSlice/" + s.key + "/" + at.String()
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
