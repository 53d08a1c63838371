// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"time"
)

// Asker is a Resolver that asks for an address when a connection uses it, instead of knowing all addresses.
type Asker interface {
	// Answered returns whether a connection that began at the time at need not wait for the service at an address. An
	// address that is new is asked for.
	Answered(address netip.Addr, at time.Time) bool
	// Hold keeps an address of an open connection, which is not looked up while the connection is idle.
	Hold(address netip.Addr)
	Demand() Demand
}

// AskerOf returns what asks for addresses for a resolver; nil: it knows all addresses.
func AskerOf(r Resolver) Asker {
	if asker, ok := r.(Asker); ok {
		return asker
	}
	if source, ok := r.(interface{ Asker() Asker }); ok {
		return source.Asker()
	}
	return nil
}

// Demand counts what an Asker holds now, and what it did since its start.
type Demand struct {
	// Known, Unknown and Asked count the addresses held: with an answer, with the answer that nobody has the address, and
	// without an answer yet. Local are those of the node's own pods, which are held without being asked for.
	Known, Unknown, Asked, Local int
	// Requests counts addresses asked for, Repeats those that were asked for once more, Released those given up.
	Requests, Repeats, Released uint64
	// Refused counts lookups of addresses for which there was no room, Missed those that found the queue full.
	Refused, Missed uint64
}
