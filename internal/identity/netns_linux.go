// SPDX-License-Identifier: Apache-2.0

package identity

import "golang.org/x/sys/unix"

// OwnNetns returns the network namespace of this process. Whether its owner is the first user namespace does not matter: the
// probe takes privileges there.
func OwnNetns() Netns {
	var at unix.Stat_t
	if unix.Stat("/proc/self/ns/net", &at) != nil {
		return Netns{}
	}
	return Netns{Inode: uint32(at.Ino)} // #nosec G115 -- the kernel's own are of 32 bits
}
