// SPDX-License-Identifier: Apache-2.0

package interfaces

import (
	"net"
	"net/netip"
)

// Own returns the addresses of the network namespace that this process is in.
func Own() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addresses []netip.Addr
	for _, a := range all {
		if prefix, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(prefix.IP); ok {
				addresses = append(addresses, addr.Unmap())
			}
		}
	}
	return addresses, nil
}
