// Package conntrack asks the kernel's connection tracking where the packets of a connection go when NAT sends them
// elsewhere than the socket says: to the pod behind a service's address, where kube-proxy does it.
package conntrack
