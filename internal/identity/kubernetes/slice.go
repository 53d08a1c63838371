// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"cmp"
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// slice is what is left of an EndpointSlice: who is behind a service, at which ports.
type slice struct {
	metav1.ObjectMeta
	service string // namespace/name; empty: it is of no service, or has names instead of addresses
	named   []namedPort
	pods    []string // namespace/name of each
	others  []netip.Addr
	// behind is what being in this slice means, once the service is known. The registry's.
	behind identity.Membership
	known  bool
}

// namedPort is a port of the pods, by the name that the service's port has.
type namedPort struct {
	name   string
	number uint16
}

func sliceOf(e *discoveryv1.EndpointSlice) *slice {
	s := &slice{ObjectMeta: meta(&e.ObjectMeta)}
	of := e.Labels[discoveryv1.LabelServiceName]
	if of == "" || e.AddressType == discoveryv1.AddressTypeFQDN {
		return s
	}
	s.service = nameOf(e.Namespace, of)
	for i := range e.Ports {
		// No number means every port, which does not help.
		if p := &e.Ports[i]; p.Port != nil && (p.Protocol == nil || isTCP(*p.Protocol)) {
			s.named = append(s.named, namedPort{value(p.Name), uint16(*p.Port)})
		}
	}
	for i := range e.Endpoints {
		// Whether it is ready does not matter: what is not, or not any more, still has its connections.
		endpoint := &e.Endpoints[i]
		if t := endpoint.TargetRef; t != nil && t.Kind == "Pod" {
			s.pods = append(s.pods, nameOf(cmp.Or(t.Namespace, e.Namespace), t.Name))
		} else {
			s.others = append(s.others, parse(endpoint.Addresses)...)
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
		number, ok := of.ports[p.name]
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

// outside names an address behind a service that is no pod's: a database, or the API server itself. Others may have the
// address too, as every process of its machine does.
func (c *cluster) outside(s *slice, of *identity.Service, at netip.Addr) *identity.Workload {
	return &identity.Workload{
		UID:  c.outsideUID(s, at),
		Name: of.Name, Namespace: of.Namespace,
		Names:       identity.Names{Workload: of.Name, Namespace: of.Namespace, Cluster: c.id}.Handle(),
		HostNetwork: true,
		Addresses:   []netip.Addr{at},
		Services:    []identity.Membership{s.behind},
	}
}

func (c *cluster) outsideUID(s *slice, at netip.Addr) string {
	return c.id + "/discovery.k8s.io/EndpointSlice/" + s.Namespace + "/" + s.Name + "/" + at.String()
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
