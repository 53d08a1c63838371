// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"slices"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Rule excludes the connection ends that match all of its fields. An empty field matches every end.
type Rule struct {
	CIDRs      []netip.Prefix // with the address of either end, or the requested one
	Ports      []uint16       // of the destination, or requested
	Directions []flow.Direction
	Namespaces []string // of either end
	Workloads  []string // either end: the workload, or its pod, VM or process
}

// ByIdentity returns whether a rule needs the names of the ends, which the kernel does not have.
func (r *Rule) ByIdentity() bool { return len(r.Namespaces) > 0 || len(r.Workloads) > 0 }

func (r *Rule) matches(f *flow.Flow) bool {
	c := f.Connection
	return matchesAny(r.Directions, func(d flow.Direction) bool { return d == c.Direction }) &&
		matchesAny(r.Ports, func(port uint16) bool {
			return port == c.Destination.Port() || c.Original.IsValid() && port == c.Original.Port()
		}) &&
		matchesAny(r.CIDRs, func(cidr netip.Prefix) bool {
			return cidr.Contains(c.Source.Addr()) || cidr.Contains(c.Destination.Addr()) || cidr.Contains(c.Original.Addr())
		}) &&
		matchesAny(r.Namespaces, func(name string) bool { return inNamespace(f.Source, name) || inNamespace(f.Destination, name) }) &&
		matchesAny(r.Workloads, func(name string) bool { return isNamed(f.Source, name) || isNamed(f.Destination, name) })
}

// matchesAny is true for a field that is empty.
func matchesAny[T any](field []T, matches func(T) bool) bool {
	return len(field) == 0 || slices.ContainsFunc(field, matches)
}

func inNamespace(w *identity.Workload, name string) bool { return w != nil && w.Namespace() == name }

func isNamed(w *identity.Workload, name string) bool {
	return w != nil && (w.Name == name || w.Names.Value().Workload == name)
}

// excluded returns whether a rule matches f.
func (n *Namer) excluded(f *flow.Flow) bool {
	for i := range n.settings.Exclude {
		if n.settings.Exclude[i].matches(f) {
			return true
		}
	}
	return false
}
