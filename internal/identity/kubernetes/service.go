package kubernetes

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// service is a Service with what its endpoints need of it.
type service struct {
	*identity.Service
	ports map[string]uint16 // by the port's name, which may be empty
}

// service gives nil for what no TCP connection goes to: an ExternalName is an alias in the DNS, and a service may have
// ports of other protocols only.
func (c *cluster) service(s *corev1.Service) *service {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	built := &service{Service: &identity.Service{
		Host: s.Name + "." + s.Namespace + ".svc." + c.domain,
		Name: s.Name, Namespace: s.Namespace,
		Addresses: serviceAddresses(s),
	}, ports: make(map[string]uint16, len(s.Spec.Ports))}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if !isTCP(p.Protocol) {
			continue
		}
		number := uint16(p.Port)
		built.ports[p.Name] = number
		built.Ports = append(built.Ports, identity.Port{Service: number, Target: target(p)})
	}
	if len(s.Spec.Ports) > 0 && len(built.Ports) == 0 {
		return nil
	}
	return built
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

// target is 0 for a port that the pods' containers name: the endpoint slices tell its number.
func target(p *corev1.ServicePort) uint16 {
	if p.TargetPort.Type == intstr.String {
		return 0
	}
	return uint16(cmp.Or(p.TargetPort.IntVal, p.Port))
}

func isTCP(p corev1.Protocol) bool { return p == "" || p == corev1.ProtocolTCP }
