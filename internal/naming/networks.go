// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"slices"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// nameOutside lets the user's networks answer for the ends that no known workload has. It comes when no more will be
// known: a network never stands before a workload that is reported within Settle.
func (n *Namer) nameOutside(f *flow.Flow) {
	networks := n.settings.Networks
	c := f.Connection
	if networks == nil || n.astray(f) {
		return
	}
	if !f.Source.Known() {
		f.Source = orNetwork(f.Source, networks.Lookup(c.Source.Addr()))
	}
	// What is a service's own address is no end's.
	if !f.Destination.Known() && (f.Service == nil || !slices.Contains(f.Service.Addresses, c.Destination.Addr())) {
		f.Destination = orNetwork(f.Destination, networks.Lookup(c.Destination.Addr()))
	}
	if f.Service == nil {
		f.RequestedNetwork = n.requestedNetwork(f)
	}
}

// requestedNetwork returns the network of the requested address, if no known workload has it.
func (n *Namer) requestedNetwork(f *flow.Flow) *identity.Workload {
	requested := f.Requested()
	if requested.Addr() == f.Connection.Destination.Addr() {
		if f.Destination.Known() {
			return nil
		}
		return orNetwork(nil, f.Destination)
	}
	network := n.settings.Networks.Lookup(requested.Addr())
	if network == nil {
		return nil
	}
	if w, _ := n.resolver.Resolve(identity.End{Address: requested, Server: true, Netns: f.Connection.Netns}, f.Connection.Start); w.Known() {
		return nil
	}
	return network
}

// orNetwork returns the network, if it is one.
func orNetwork(w, network *identity.Workload) *identity.Workload {
	if network == nil || network.Kind != identity.KindNetwork {
		return w
	}
	return network
}
