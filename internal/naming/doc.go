// SPDX-License-Identifier: Apache-2.0

// Package naming turns connections into flows: it resolves who is at both ends, waits for identities that are not known
// yet, asks connection tracking where NAT sends the packets, and names addresses outside by the user's networks. Flows
// in scope go to the sinks.
package naming
