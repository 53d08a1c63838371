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
	source := identity.End{Address: c.Source, Peer: c.Destination}
	destination := identity.End{Address: c.Destination, Peer: c.Source, Server: true}
	if c.Direction == flow.Inbound {
		destination.Local = &c.Local
	} else {
		source.Local = &c.Local
	}
	// Who had the address when the connection began: a pod that is gone by now still gets its last bytes.
	var sourceSettled, destinationSettled bool
	f.Source, sourceSettled = n.resolver.Resolve(source, c.Start)
	f.Destination, destinationSettled = n.resolver.Resolve(destination, c.Start)
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
