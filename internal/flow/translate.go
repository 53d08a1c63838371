// SPDX-License-Identifier: Apache-2.0

package flow

import "net/netip"

// Translator knows what NAT does to the packets after they left the socket.
type Translator interface {
	// Translate tells where the packets of a connection go whose socket has the two addresses; end is the Connection's ID.
	// It may be asked for the same end again, and should answer the same.  False: as the socket says, as far as is known.
	Translate(end uint64, source, destination netip.AddrPort) (to netip.AddrPort, ok bool)
}

// TranslateBy has the translator asked about the ends that connected to a service's address which no workload has.  Call it
// before the first Add; without it nobody is asked.
func (a *Aggregator) TranslateBy(t Translator) { a.translator = t }

// translate puts the address that is behind a service's into c, if NAT made the socket keep the service's.  What was asked
// for stays what it was.
func (a *Aggregator) translate(c *Connection) bool {
	if a.translator == nil || c.Direction != Outbound || c.ID == 0 ||
		a.resolver.Service(netip.AddrPort{}, c.Destination, nil, c.Start) == nil {
		return false
	}
	to, ok := a.translator.Translate(c.ID, c.Source, c.Destination)
	if !ok {
		return false
	}
	if !c.Original.IsValid() {
		c.Original = c.Destination
	}
	c.Destination = to
	return true
}
