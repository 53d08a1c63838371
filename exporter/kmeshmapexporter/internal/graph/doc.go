// SPDX-License-Identifier: Apache-2.0

// Package graph keeps who talks to whom, from the metrics and the access log of the receiver kmesh: nodes, edges
// between them, what each edge carried over the last minutes, and its last access log records.
//
// Both ends of a connection may report it. An edge keeps what each reporter counted apart, and shows one of the two.
// All that is kept is bounded; see Settings.
package graph
