// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"time"
)

// End is one side of a connection as the probe saw it.
type End struct {
	Address netip.AddrPort
	// Peer is the address of the other side: with it, a source that learns from the ends themselves finds the other end
	// of the very same connection. Invalid where it is not known.
	Peer netip.AddrPort
	// Server is true on the side that was connected to: a process listens at its Address.
	Server bool
	// Local is the process of the side whose socket was read, and nil on the other side.
	Local *Process
	// Sequence is both initial sequence numbers, which the two ends of one connection have in common; 0: not known.
	Sequence uint64
	// Netns is the network namespace of the socket that was read, on both sides: the addresses are those of this namespace.
	Netns Netns
}

// Process is who made a socket, or listens for it.
type Process struct {
	PID    uint32 // in the host's pid namespace
	Name   string // comm of the thread group's leader: any bytes
	Cgroup uint64 // id in cgroup v2; 0: unknown
}

// Resolver is what naming a connection needs of a source. It is safe for concurrent use; an answer that is known
// allocates nothing, and from an [Index] takes no lock.
type Resolver interface {
	// Resolve returns who had the end at the time at, which is when the connection began. With settled false a later call
	// may know better: the caller waits, and takes the last answer when it has waited long enough.
	// nil: no known workload.
	Resolve(end End, at time.Time) (w *Workload, settled bool)
	// Service returns the service of a destination whose workload (which may be nil) is w: that at the address which was
	// asked for (original, or destination when original is invalid), else that of w whose target port is the
	// destination's, else w's only one. Ties go to the lowest host name in byte order. nil: none is known.
	Service(original, destination netip.AddrPort, w *Workload, at time.Time) *Service
	// Untrusted returns whether addresses in a network namespace show nothing about who is there, because anybody may have
	// made it. Ends that are read there are named by their cgroup or not at all.
	Untrusted(at Netns) bool
	// Impostor returns whether a local end has the address of a workload, and is in another network namespace.
	Impostor(end End, at time.Time) bool
	// Generation changes whenever an answer may have: records that wait are tried again only then.
	Generation() uint64
}

// Held counts the identities that a source has.
type Held struct{ Workloads, Services int }
