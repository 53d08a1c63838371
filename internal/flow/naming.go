// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Flow is a Connection with both ends named.
type Flow struct {
	Connection  *Connection
	Source      *identity.Workload // or what stands for it, see its Kind; nil: unknown
	Destination *identity.Workload // likewise
	Service     *identity.Service  // of the destination; nil: unknown
	Observed    time.Time          // when the record was read

	RequestedNetwork *identity.Workload // of the requested address, if no known workload has it; nil: none
}

// hbonePort is where a tunnel of an ambient mesh ends.
const hbonePort = 15008

// resolve names both ends of f; false while a later try may know more.
func (a *Aggregator) resolve(f *Flow) bool {
	c := f.Connection
	source := identity.End{Address: c.Source, Peer: c.Destination}
	destination := identity.End{Address: c.Destination, Peer: c.Source, Server: true}
	if c.Direction == Inbound {
		destination.Local = &c.Local
	} else {
		source.Local = &c.Local
	}
	// Who had the address when the connection began: a pod that is gone by now still gets its last bytes.
	var sourceSettled, destinationSettled bool
	f.Source, sourceSettled = a.resolver.Resolve(source, c.Start)
	f.Destination, destinationSettled = a.resolver.Resolve(destination, c.Start)
	f.Service = a.resolver.Service(c.Original, c.Destination, f.Destination, c.Start)
	if f.Destination == nil && a.translate(c) {
		destination.Address = c.Destination
		f.Destination, destinationSettled = a.resolver.Resolve(destination, c.Start)
		f.Service = a.resolver.Service(c.Original, c.Destination, f.Destination, c.Start)
	}
	return sourceSettled && destinationSettled
}

func (a *Aggregator) inScope(f *Flow) bool {
	return a.settings.Scope == ScopeAll || f.Source.Known() || f.Destination.Known()
}

func (a *Aggregator) traits(f *Flow, flags responseFlags) traits {
	t := traits{direction: f.Connection.Direction, flags: flags}
	if a.settings.SecurityPolicy == PolicyAuto && tunnelled(f) {
		t.mutualTLS = true
	}
	return t
}

// tunnelled says whether the connection itself is an HBONE tunnel, which is always mutual TLS.
func tunnelled(f *Flow) bool {
	return f.Connection.Destination.Port() == hbonePort &&
		f.Destination != nil && f.Destination.Tunnel == identity.TunnelHBONE
}
