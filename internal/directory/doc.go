// SPDX-License-Identifier: Apache-2.0

// Package directory serves the identities of an index to agents that ask for addresses, by the protocol by which ztunnel and the
// source `istio` ask istiod on demand: delta ADS, istio.workload.Address, and names NETWORK/IP.
//
// Unlike istiod, it also reports when an address without a holder gets one, and since when each workload has its
// addresses. Two directories over the same cluster give the same answers: a version is a hash of the content.
package directory
