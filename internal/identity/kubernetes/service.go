// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// service is what is kept of a Service.
type service struct {
	key       string            // namespace/name
	published *identity.Service // nil: no TCP connection goes to it
	ports     []namedPort
	created   time.Time
	round     uint32 // the last list that had it
}

// port returns the number of a port, by its name, which may be empty.
func (s *service) port(name string) (number uint16, ok bool) {
	i := slices.IndexFunc(s.ports, func(p namedPort) bool { return p.name == name })
	if i < 0 {
		return 0, false
	}
	return s.ports[i].number, true
}

// service returns one that is not published of what no TCP connection goes to: an ExternalName is an alias in the DNS, and
// there are services with ports of other protocols only.
func (c *cluster) service(s *corev1.Service) *service {
	stripped := &service{key: s.Namespace + "/" + s.Name, created: s.CreationTimestamp.Time}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return stripped
	}
	var ports []identity.Port
	var onNodes []identity.NodePort
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if !isTCP(p.Protocol) {
			continue
		}
		number := uint16(p.Port) // the API server has checked it
		stripped.ports = append(stripped.ports, namedPort{shared(p.Name), number})
		ports = append(ports, identity.Port{Service: number, Target: target(p)})
		if p.NodePort != 0 {
			onNodes = append(onNodes, identity.NodePort{Node: uint16(p.NodePort), Service: number})
		}
	}
	if len(s.Spec.Ports) > 0 && len(ports) == 0 {
		return stripped
	}
	host := s.Name + "." + s.Namespace + ".svc." + c.domain
	own, external := serviceAddresses(s)
	stripped.published = &identity.Service{
		Host: host, Name: host[:len(s.Name)], Namespace: shared(s.Namespace),
		Addresses: append(own, external...), External: external, Ports: ports, NodePorts: onNodes,
	}
	return stripped
}

// serviceAddresses are all that a client may ask for. The API server gives a service its own ones, which no other has; a
// headless service has none. A user who may write services can list any address as an external one.
func serviceAddresses(s *corev1.Service) (own, external []netip.Addr) {
	texts := s.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{s.Spec.ClusterIP}
	}
	own = parse(texts) // drops the word None
	texts = slices.Clone(s.Spec.ExternalIPs)
	for i := range s.Status.LoadBalancer.Ingress {
		texts = append(texts, s.Status.LoadBalancer.Ingress[i].IP)
	}
	for _, a := range parse(texts) {
		if !slices.Contains(own, a) {
			external = append(external, a)
		}
	}
	return own, external
}

// target is 0 for a port that the pods' containers name: the endpoint slices have its number.
func target(p *corev1.ServicePort) uint16 {
	if p.TargetPort.Type == intstr.String {
		return 0
	}
	return uint16(cmp.Or(p.TargetPort.IntVal, p.Port)) // the API server has checked it
}

func isTCP(p corev1.Protocol) bool { return p == "" || p == corev1.ProtocolTCP }
