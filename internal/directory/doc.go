// SPDX-License-Identifier: Apache-2.0

// Package directory serves the identities of an index to agents that ask for addresses, by the protocol by which ztunnel and the
// source `istio` ask istiod on demand: delta ADS, istio.workload.Address, and names NETWORK/IP.
//
// Beyond what istiod does, it reports it when somebody gets an address that nobody had, and since when each workload has its
// addresses. Two directories over the same cluster give the same answers: a version is a hash of the content.
package directory
