// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// service is what is left of a Service.
type service struct {
	metav1.ObjectMeta
	published *identity.Service // nil: no TCP connection goes to it
	ports     map[string]uint16 // by the port's name, which may be empty
}

// service returns one that is not published of what no TCP connection goes to: an ExternalName is an alias in the DNS, and
// there are services with ports of other protocols only.
func (c *cluster) service(s *corev1.Service) *service {
	stripped := &service{ObjectMeta: meta(&s.ObjectMeta)}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return stripped
	}
	var ports []identity.Port
	stripped.ports = make(map[string]uint16, len(s.Spec.Ports))
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if !isTCP(p.Protocol) {
			continue
		}
		number := uint16(p.Port) // the API server has checked it
		stripped.ports[p.Name] = number
		ports = append(ports, identity.Port{Service: number, Target: target(p)})
	}
	if len(s.Spec.Ports) > 0 && len(ports) == 0 {
		return stripped
	}
	stripped.published = &identity.Service{
		Host: s.Name + "." + s.Namespace + ".svc." + c.domain,
		Name: s.Name, Namespace: s.Namespace,
		Addresses: serviceAddresses(s), Ports: ports,
	}
	return stripped
}

// serviceAddresses are all that a client may ask for: a headless service has none.
func serviceAddresses(s *corev1.Service) []netip.Addr {
	texts := slices.Clone(s.Spec.ClusterIPs)
	if len(texts) == 0 {
		texts = append(texts, s.Spec.ClusterIP)
	}
	texts = append(texts, s.Spec.ExternalIPs...)
	for i := range s.Status.LoadBalancer.Ingress {
		texts = append(texts, s.Status.LoadBalancer.Ingress[i].IP)
	}
	return parse(texts) // drops the word None
}

// target is 0 for a port that the pods' containers name: the endpoint slices have its number.
func target(p *corev1.ServicePort) uint16 {
	if p.TargetPort.Type == intstr.String {
		return 0
	}
	return uint16(cmp.Or(p.TargetPort.IntVal, p.Port)) // the API server has checked it
}

func isTCP(p corev1.Protocol) bool { return p == "" || p == corev1.ProtocolTCP }
