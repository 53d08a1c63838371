// SPDX-License-Identifier: Apache-2.0

package interfaces

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// Virtual returns the ranges that this process's network namespace reaches over interfaces without hardware: bridges, and the
// like. An address in one may be a container's of this machine.
func Virtual() []netip.Prefix {
	all, _ := net.Interfaces()
	var ranges []netip.Prefix
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || exists(filepath.Join("/sys/class/net", i.Name, "device")) {
			continue
		}
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if network, ok := a.(*net.IPNet); ok {
				addr, _ := netip.AddrFromSlice(network.IP)
				bits, _ := network.Mask.Size()
				if prefix, err := addr.Unmap().Prefix(bits); err == nil && !prefix.IsSingleIP() {
					ranges = append(ranges, prefix)
				}
			}
		}
	}
	return ranges
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
