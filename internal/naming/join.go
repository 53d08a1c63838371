// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// join names the other end of f after what its record knew. settled is false while that may know more.
func (n *Namer) join(f *flow.Flow) (joined, settled bool) {
	c, p := f.Connection, &n.held.pair
	_, other := p.ends(c.Direction)
	if other.id == 0 || other.id == c.ID {
		return false, false
	}
	if c.Direction == flow.Inbound {
		n.fromClient(f, p)
	} else {
		n.fromServer(f, p)
	}
	return true, other.settled
}

// pair keeps what f knows for the other end, if that may be on this node. It returns false if f should wait for that.
func (n *Namer) pair(f *flow.Flow, joined, sourceSettled, destinationSettled, answered bool) (paired bool) {
	c := f.Connection
	if n.held.key == 0 || n.settings.Settle <= 0 || n.settings.PairLimit < 0 {
		return true
	}
	peer, settled := f.Destination, sourceSettled && answered
	if c.Direction == flow.Inbound {
		peer, settled = f.Source, destinationSettled
	}
	if !joined && !n.redirects.mayTake(c) && (peer != nil && (peer.Elsewhere || !peer.Known())) {
		return true
	}
	n.publish(f, settled)
	own, _ := n.held.pair.ends(c.Direction)
	if joined || f.Hop || !n.wants(f) {
		return true
	}
	if own.until == 0 {
		own.until = f.Observed.Add(n.settings.Settle).UnixNano()
		n.held.changed = true
	}
	return f.Observed.UnixNano() >= own.until
}

// fromClient names the source of a server's end after what the client's end knows of itself, and the service after what it asked
// for. A client may ask for any address: the service counts only if the server is behind it.
func (n *Namer) fromClient(f *flow.Flow, p *pair) {
	if w := p.client.workload; w != nil || isShared(f.Source) {
		f.Source = w
	}
	c := f.Connection
	if asked, ok := behindRedirect(c.Destination, p.asked.addrPort(), f.Destination); ok {
		c.Destination = asked
		f.Service = n.resolver.Service(c.Original, c.Destination, f.Destination, c.Start)
	}
	if p.service != nil && f.Destination.Behind(p.service.Key()) {
		f.Service = p.service
	}
}

// fromServer names the destination of a client's end after what the server's end knows of itself.
func (n *Namer) fromServer(f *flow.Flow, p *pair) {
	c := f.Connection
	address := p.address.addrPort()
	if p.hop {
		n.hop(f)
		return
	}
	_, redirected := behindRedirect(address, c.Destination, p.server.workload)
	if address != c.Destination && !redirected && !address.Addr().IsLoopback() {
		if !c.Original.IsValid() {
			c.Original = c.Destination
		}
		c.Destination = address
	}
	if w := p.server.workload; w != nil || isShared(f.Destination) {
		f.Destination = w
	}
	f.Service = n.resolver.Service(c.Original, c.Destination, f.Destination, c.Start)
}

// isShared returns whether an end was named after an address that others have too.
func isShared(w *identity.Workload) bool { return w != nil && w.HostNetwork }

// publish keeps what f knows of its own end for the record of the other one, and wakes that if it waits.
func (n *Namer) publish(f *flow.Flow, settled bool) {
	c, p := f.Connection, &n.held.pair
	own, other := p.ends(c.Direction)
	before := *p
	if own.id != c.ID {
		*own = half{id: c.ID}
	}
	own.settled = settled
	if c.Direction == flow.Inbound {
		own.workload, p.address, p.hop = f.Destination, socketOf(c.Destination), f.Hop
	} else {
		own.workload, p.service, p.asked = f.Source, f.Service, socketOf(c.Destination)
	}
	if *p == before {
		return
	}
	n.held.changed = true
	if other.id != 0 && n.waiting.holds(other.id) {
		n.woken = append(n.woken, other.id)
	}
}

// wants returns whether the record of the other end would know more of f than is known, and may come: it is of this node.
func (n *Namer) wants(f *flow.Flow) bool {
	c := f.Connection
	if n.redirects.mayTake(c) {
		return true
	}
	peer, address := f.Destination, c.Destination.Addr()
	if c.Direction == flow.Inbound {
		peer, address = f.Source, c.Source.Addr()
	}
	switch {
	case peer == nil:
		return isInner(address)
	case !peer.Known() || peer.Elsewhere: // of another node, or of none
		return false
	case peer.HostNetwork:
		return n.settings.Local(address) || n.settings.NodeName != "" && (peer.NodeName.String() == n.settings.NodeName || peer.Node && peer.Name == n.settings.NodeName)
	}
	return c.Direction == flow.Inbound && f.Destination.Ambiguous(c.Destination.Port())
}

// shared is the range of RFC 6598, which clusters use as they use private ones.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// isInner returns whether an address is of a kind that nodes and pods have among themselves.
func isInner(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || shared.Contains(a)
}

// wake passes on the records that waited for what the last ones knew.
func (n *Namer) wake(now time.Time) {
	for len(n.woken) > 0 {
		last := len(n.woken) - 1
		id := n.woken[last]
		n.woken = n.woken[:last]
		n.waiting.retry(id, func(w *waiting) bool { return n.passReady(w, now) })
	}
}
