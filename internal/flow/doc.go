// SPDX-License-Identifier: Apache-2.0

// Package flow has the types that the stages pass on: a Connection is what the probe read of one connection end, decoded,
// and a Flow is a Connection with both ends named.
package flow
