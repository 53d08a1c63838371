// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// resolve names both ends of f; false while a later call may know more.
func (n *Namer) resolve(f *flow.Flow) bool {
	c := f.Connection
	source, destination := ends(c)
	// Who had the address when the connection began: a pod that is gone by now still gets its last bytes. The local end comes
	// first: it may show who is in its network namespace, and thereby what the other address means.
	var sourceSettled, destinationSettled bool
	if c.Direction == flow.Inbound {
		f.Destination, destinationSettled = n.resolver.Resolve(destination, c.Start)
		if n.astray(f) {
			f.Source, f.Service = nil, nil
			return destinationSettled
		}
		f.Source, sourceSettled = n.resolver.Resolve(source, c.Start)
	} else {
		f.Source, sourceSettled = n.resolver.Resolve(source, c.Start)
		if n.astray(f) {
			f.Destination, f.Service = nil, nil
			return sourceSettled
		}
		f.Destination, destinationSettled = n.resolver.Resolve(destination, c.Start)
	}
	f.Service = n.resolver.Service(c.Original, c.Destination, f.Destination, c.Start)
	if f.Destination == nil && n.translate(c) {
		destination.Address = c.Destination
		f.Destination, destinationSettled = n.resolver.Resolve(destination, c.Start)
		f.Service = n.resolver.Service(c.Original, c.Destination, f.Destination, c.Start)
	}
	if n.asker != nil && c.Original.IsValid() && !n.asker.Answered(c.Original.Addr(), c.Start) {
		return false // which service was asked for is not known yet
	}
	return sourceSettled && destinationSettled
}

// ends returns both sides of c.
func ends(c *flow.Connection) (source, destination identity.End) {
	sequence := uint64(c.ClientISN)<<32 | uint64(c.ServerISN)
	source = identity.End{Address: c.Source, Peer: c.Destination, Netns: c.Netns, Sequence: sequence}
	destination = identity.End{Address: c.Destination, Peer: c.Source, Server: true, Netns: c.Netns, Sequence: sequence}
	if c.Direction == flow.Inbound {
		destination.Local = &c.Local
	} else {
		source.Local = &c.Local
	}
	return source, destination
}

// astray returns whether the addresses of f show nothing, as its socket is where anybody can have any, or has another's.
func (n *Namer) astray(f *flow.Flow) bool {
	return n.resolver.Untrusted(f.Connection.Netns) || n.impostor(f)
}

// impostor returns whether the local end has the address of a workload, and is not that workload.
func (n *Namer) impostor(f *flow.Flow) bool {
	c := f.Connection
	if c.Direction == flow.Inbound {
		_, local := ends(c)
		return f.Destination == nil && n.resolver.Impostor(local, c.Start)
	}
	local, _ := ends(c)
	return f.Source == nil && n.resolver.Impostor(local, c.Start)
}

// translate puts the address that is behind a service's into c, if NAT made the socket keep the service's. The requested
// address stays what it was.
func (n *Namer) translate(c *flow.Connection) bool {
	if n.translator == nil || c.Direction != flow.Outbound || c.ID == 0 ||
		n.resolver.Service(netip.AddrPort{}, c.Destination, nil, c.Start) == nil {
		return false
	}
	to, ok := n.translator.Translate(c.ID, c.Source, c.Destination)
	if !ok {
		return false
	}
	if !c.Original.IsValid() {
		c.Original = c.Destination
	}
	c.Destination = to
	return true
}
