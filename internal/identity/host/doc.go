// SPDX-License-Identifier: Apache-2.0

// Package host is the identity source that needs nothing: it names the processes of this machine, and a remote end by its
// address.
//
// A socket has the process of its own end only. Where both ends of a connection are on this machine, each end's own
// record names it for the other one's.
package host
