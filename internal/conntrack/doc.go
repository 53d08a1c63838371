// SPDX-License-Identifier: Apache-2.0

// Package conntrack asks the kernel's connection tracking where NAT sends the packets of a connection, e.g. to the pod behind a
// service's address, which kube-proxy rewrites.
package conntrack
