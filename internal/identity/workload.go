// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"slices"
	"unique"
)

// Tunnel is the protocol that a workload's proxy takes connections with.
type Tunnel uint8

// The tunnels of the workload API.
const (
	TunnelNone Tunnel = iota
	TunnelHBONE
)

// Kind is what an end is named after.
type Kind uint8

// The kinds.
const (
	KindWorkload Kind = iota
	KindNetwork       // the holder of the address is not known, but its network is
	KindAddress       // the holder of the address is not known: the address is the name
)

// Workload is a pod, a VM or a process, or what stands for one that is not known: see its Kind. It is shared by pointer,
// and immutable once it is published.
type Workload struct {
	UID         string
	Name        string // of the pod (VM, process); [Unknown], never empty
	Names       unique.Handle[Names]
	Addresses   []netip.Addr
	Services    []Membership // sorted by service; replicas may share it
	NodeName    NodeName     // of the Kubernetes node that it runs on; zero: unknown
	Site        *Site        // of its node; nil: unknown
	PodUID      PodUID       // zero: no pod, or unknown
	Kind        Kind
	Tunnel      Tunnel
	HostNetwork bool // its addresses are the node's, which it shares with others
	Node        bool // it is the node, which answers for unknown processes on its network; HostNetwork is set too
	Claimed     bool // its address was listed behind a service, and nothing shows that it is there; HostNetwork is set too
	Elsewhere   bool // it is known to be on another node: no process here has its address
}

// Namespace returns that of the pod; [Unknown], never empty.
func (w *Workload) Namespace() string {
	if w.Names == (unique.Handle[Names]{}) {
		return Unknown
	}
	return w.Names.Value().Namespace
}

// Known returns whether it is a workload, not something that an end without one is named after. It is false for nil.
func (w *Workload) Known() bool { return w != nil && w.Kind == KindWorkload }

// Membership is a service that a workload is behind.
type Membership struct {
	Service ServiceKey
	Ports   []Port
}

// serves returns whether one of the service's ports ends at the workload's port.
func (m *Membership) serves(target uint16) bool {
	return slices.ContainsFunc(m.Ports, func(p Port) bool { return p.Target == target })
}

// Behind returns whether the workload is behind a service. It is false for nil.
func (w *Workload) Behind(service ServiceKey) bool {
	return w != nil && slices.ContainsFunc(w.Services, func(m Membership) bool { return m.Service == service })
}

// Ambiguous returns whether several services may have led to a port of the workload. It is false for nil.
func (w *Workload) Ambiguous(port uint16) bool {
	if w == nil || len(w.Services) < 2 {
		return false
	}
	serving := 0
	for i := range w.Services {
		if w.Services[i].serves(port) {
			serving++
		}
	}
	return serving != 1
}

// serves returns whether any service of the workload ends at its port.
func (w *Workload) serves(target uint16) bool {
	for i := range w.Services {
		if w.Services[i].serves(target) {
			return true
		}
	}
	return false
}

// Equal returns whether two versions of a workload are the same.
func (w *Workload) Equal(o *Workload) bool {
	return w.UID == o.UID && w.Kind == o.Kind && w.PodUID == o.PodUID && w.Name == o.Name &&
		w.NodeName == o.NodeName && w.Names == o.Names && w.Topology() == o.Topology() &&
		w.Tunnel == o.Tunnel && w.HostNetwork == o.HostNetwork && w.Node == o.Node && w.Claimed == o.Claimed && w.Elsewhere == o.Elsewhere &&
		slices.Equal(w.Addresses, o.Addresses) &&
		slices.EqualFunc(w.Services, o.Services, func(a, b Membership) bool {
			return a.Service == b.Service && slices.Equal(a.Ports, b.Ports)
		})
}
