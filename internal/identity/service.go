// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"net/netip"
	"slices"
)

// Service is immutable once it is published. A series should be keyed by its three names, not by its pointer: a service
// that is published again has another one.
type Service struct {
	Host      string // `httpbin.default.svc.cluster.local`
	Name      string // short; [Unknown], never empty
	Namespace string // [Unknown], never empty
	Addresses []netip.Addr
	External  []netip.Addr // of these, those that any user can list
	Ports     []Port       // none: the ports are not known, any may be the service's
	NodePorts []NodePort   // of these, those that every node listens for
}

// ServiceKey identifies a service, as `default/httpbin.default.svc.cluster.local` does in the workload API.
type ServiceKey struct{ Namespace, Host string }

// Port of a service, and the port of the workloads behind it; Target is 0 where it differs from workload to workload.
type Port struct{ Service, Target uint16 }

// NodePort is a port that every node has for a service's.
type NodePort struct{ Node, Service uint16 }

// Key identifies the service.
func (s *Service) Key() ServiceKey { return ServiceKey{s.Namespace, s.Host} }

// Compare orders services by host name in byte order, then by namespace: the order in which ties are decided.
func (k ServiceKey) Compare(o ServiceKey) int {
	return cmp.Or(cmp.Compare(k.Host, o.Host), cmp.Compare(k.Namespace, o.Namespace))
}

// listens returns whether the port is, or may be, one of the service's.
func (s *Service) listens(port uint16) bool {
	return len(s.Ports) == 0 || slices.ContainsFunc(s.Ports, func(p Port) bool { return p.Service == port })
}

// onNodes are the ports that every node has for the service.
func (s *Service) onNodes() []uint16 {
	all := make([]uint16, len(s.NodePorts))
	for i, p := range s.NodePorts {
		all[i] = p.Node
	}
	return all
}

// external returns whether the address is one that any user can list.
func (s *Service) external(a netip.Addr) bool { return slices.Contains(s.External, a) }

func (s *Service) equal(o *Service) bool {
	return s.Host == o.Host && s.Name == o.Name && s.Namespace == o.Namespace &&
		slices.Equal(s.Addresses, o.Addresses) && slices.Equal(s.External, o.External) && slices.Equal(s.Ports, o.Ports) &&
		slices.Equal(s.NodePorts, o.NodePorts)
}
