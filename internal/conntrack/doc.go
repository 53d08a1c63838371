// SPDX-License-Identifier: Apache-2.0

// Package conntrack queries the kernel's connection tracking for where NAT sends the packets of a connection, e.g. to the pod
// behind a service address, which kube-proxy rewrites.
package conntrack
