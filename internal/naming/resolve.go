// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// resolve names both ends of f. settled is false while a later call may know more, and paired while the record of the other end
// would.
func (n *Namer) resolve(f *flow.Flow) (settled, paired bool) {
	c := f.Connection
	source, destination := sides(c)
	n.joined = false
	n.held = n.pairs.hold(c.Pair())
	// Who had the address when the connection began: a pod that is gone by now still gets its last bytes. The local end comes
	// first: it may show who is in its network namespace, and thereby what the other address means.
	var sourceSettled, destinationSettled bool
	if c.Direction == flow.Inbound {
		f.Destination, destinationSettled = n.resolver.Resolve(destination, c.Start)
		if n.astray(f) {
			f.Source, f.Service = nil, nil
			return destinationSettled, true
		}
		f.Source, sourceSettled = n.resolver.Resolve(source, c.Start)
		if asked, ok := behindRedirect(c.Destination, c.Redirected, f.Destination); ok {
			c.Destination = asked
		}
	} else {
		f.Source, sourceSettled = n.resolver.Resolve(source, c.Start)
		if n.astray(f) {
			f.Destination, f.Service = nil, nil
			return sourceSettled, true
		}
		f.Destination, destinationSettled = n.resolver.Resolve(destination, c.Start)
	}
	f.Service = n.resolver.Service(c.Original, c.Destination, f.Destination, c.Start)

	joined, known := n.join(f)
	n.joined = joined
	switch {
	case joined && c.Direction == flow.Inbound:
		sourceSettled = known
	case joined:
		destinationSettled = known
	case n.mayBeTranslated(f) && n.translate(c):
		destination.Address = c.Destination
		f.Destination, destinationSettled = n.resolver.Resolve(destination, c.Start)
		f.Service = n.resolver.Service(c.Original, c.Destination, f.Destination, c.Start)
	}
	if n.isHop(c) {
		n.hop(f)
	}
	// Which service was asked for may not be known yet.
	answered := n.asker == nil || !c.Original.IsValid() || n.asker.Answered(c.Original.Addr(), c.Start)
	settled = sourceSettled && destinationSettled && answered
	paired = n.pair(f, joined, sourceSettled, destinationSettled, answered)
	if led(f) {
		f.Destination = nil
	}
	if f.Hop && n.settings.Hops == OmitHops {
		return true, true // it is not reported, whoever it is
	}
	return settled, paired
}

// sides returns both sides of c.
func sides(c *flow.Connection) (source, destination identity.End) {
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
	source, destination := f.Source, f.Destination
	switch {
	case c.Direction == flow.Outbound && source == nil:
		local, _ := sides(c)
		return n.resolver.Impostor(local, c.Start)
	case c.Direction == flow.Inbound && destination == nil:
		_, local := sides(c)
		return n.resolver.Impostor(local, c.Start)
	}
	return false // somebody is known to be there
}

// mayBeTranslated returns whether something may send the packets of a client elsewhere: they go to the address of a service that
// no workload has, or of a node.
func (n *Namer) mayBeTranslated(f *flow.Flow) bool {
	c := f.Connection
	if n.translator == nil || c.Direction != flow.Outbound || c.ID == 0 {
		return false
	}
	if f.Destination != nil {
		return f.Destination.HostNetwork
	}
	a := c.Destination.Addr()
	return n.resolver.Service(netip.AddrPort{}, c.Destination, nil, c.Start) != nil || !a.IsLoopback() && n.settings.Local(a)
}

// translate puts the address into c to which NAT sends its packets. The requested address stays what it was.
func (n *Namer) translate(c *flow.Connection) bool {
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

// led returns whether a service listens at a node's address, from which its packets go on to nobody knows whom.
func led(f *flow.Flow) bool {
	return f.Destination != nil && f.Destination.Node && f.Service != nil && f.Requested().Addr() == f.Connection.Destination.Addr()
}
