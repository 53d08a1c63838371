// SPDX-License-Identifier: Apache-2.0

// Package probe loads the programs of package bpf, reads what they hand over and
// reports it record by record. It knows nothing of who owns an address.
//
// A Probe is used by one goroutine: what it reads, it hands to the caller's
// function before it returns.
package probe
