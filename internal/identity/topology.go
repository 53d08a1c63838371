// SPDX-License-Identifier: Apache-2.0

package identity

import "sync/atomic"

// Topology is where a workload runs, in the terms of its provider. A field is [Unknown] where nothing is known, never
// empty.
type Topology struct{ Region, Zone string }

// unknownTopology is that of a workload without a site.
var unknownTopology = Topology{Region: Unknown, Zone: Unknown}

// Site is where a node is. The workloads of a node share it, because it may become known after they are.
type Site struct{ topology atomic.Pointer[Topology] }

// NewSite returns a site. Empty fields are not known; without any there is none.
func NewSite(region, zone string) *Site {
	if region == "" && zone == "" {
		return nil
	}
	s := &Site{}
	s.Set(region, zone)
	return s
}

// Set changes where the site is. Empty fields are not known.
func (s *Site) Set(region, zone string) {
	s.topology.Store(&Topology{Region: orUnknown(region), Zone: orUnknown(zone)})
}

// Topology returns where the workload runs. It may be called on nil.
func (w *Workload) Topology() Topology {
	if w == nil || w.Site == nil {
		return unknownTopology
	}
	if t := w.Site.topology.Load(); t != nil {
		return *t
	}
	return unknownTopology
}
