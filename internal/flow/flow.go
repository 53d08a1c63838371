// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Flow is a Connection with both ends named.
type Flow struct {
	Connection  *Connection
	Source      *identity.Workload // or what stands for it, see its Kind; nil: unknown
	Destination *identity.Workload // likewise
	Service     *identity.Service  // of the destination; nil: unknown
	// RequestedNetwork is that of the requested address, where there is no service and no known workload has the address;
	// nil: none.
	RequestedNetwork *identity.Workload
	Observed         time.Time // when the record was read
	Hop              bool      // it is between a workload and the proxy in its own network namespace
}

// Requested returns the destination as the application knows it.
func (f *Flow) Requested() netip.AddrPort {
	if f.Connection.Original.IsValid() {
		return f.Connection.Original
	}
	return f.Connection.Destination
}

// DestinationService returns the service's host name, else the requested address.
func (f *Flow) DestinationService() string {
	if f.Service != nil {
		return f.Service.Host
	}
	return f.Requested().Addr().String()
}
