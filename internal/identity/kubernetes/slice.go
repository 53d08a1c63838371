package kubernetes

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// slice is an EndpointSlice: who is behind a service, at which ports.
type slice struct {
	name    string // namespace/name
	service string // namespace/name
	named   []namedPort
	pods    []string // namespace/name of each
	others  []netip.Addr
	// behind is what being in this slice means, once the service is known.
	behind identity.Membership
	known  bool
}

// namedPort is a port of the pods, by the name that the service's port has.
type namedPort struct {
	name   string
	number uint16
}

// sliceOf gives nil for a slice that belongs to no service, or tells names instead of addresses.
func sliceOf(e *discoveryv1.EndpointSlice) *slice {
	of := e.Labels[discoveryv1.LabelServiceName]
	if of == "" || e.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	s := &slice{name: e.Namespace + "/" + e.Name, service: e.Namespace + "/" + of}
	for i := range e.Ports {
		// No number means every port, which tells nothing.
		if p := &e.Ports[i]; p.Port != nil && (p.Protocol == nil || isTCP(*p.Protocol)) {
			s.named = append(s.named, namedPort{value(p.Name), uint16(*p.Port)})
		}
	}
	for i := range e.Endpoints {
		// Whether it is ready does not matter: what is not, or not any more, still has its connections.
		endpoint := &e.Endpoints[i]
		if t := endpoint.TargetRef; t != nil && t.Kind == "Pod" {
			s.pods = append(s.pods, cmp.Or(t.Namespace, e.Namespace)+"/"+t.Name)
		} else {
			s.others = append(s.others, parse(endpoint.Addresses)...)
		}
	}
	return s
}

// resolve tells what the slice means with the service that it belongs to; nil: not known.
func (s *slice) resolve(of *service) {
	s.known = of != nil
	if of == nil {
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
	s.behind = identity.Membership{Service: of.Key(), Ports: slices.Compact(ports)}
}

func comparePorts(a, b identity.Port) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Target, b.Target))
}

// outside names an address behind a service that is no pod's: a database, or the API server itself.  Others may have the
// address too, as every process of its machine does.
func (c *cluster) outside(s *slice, of *service, at netip.Addr) *identity.Workload {
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
	return c.id + "/discovery.k8s.io/EndpointSlice/" + s.name + "/" + at.String()
}

// node names a machine of the cluster.
func (c *cluster) node(n *corev1.Node) *identity.Workload {
	var texts []string
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			texts = append(texts, a.Address)
		}
	}
	return &identity.Workload{
		UID:  "node/" + n.Name,
		Name: n.Name, Namespace: identity.Unknown,
		Names:       identity.Names{Workload: n.Name, Cluster: c.id}.Handle(),
		HostNetwork: true,
		Node:        true,
		Addresses:   parse(texts),
	}
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
