// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// minKernel is 5.15: the programs need 64-bit exchanges and the cgroup's pointer in the socket.
const minKernel = 5<<16 | 15<<8

// needed are the capabilities and what each is for.
var needed = []struct {
	bit  uint
	name string
	why  string
}{
	{unix.CAP_BPF, "CAP_BPF", "to load BPF programs"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "to attach them to the tracepoint inet_sock_set_state and to read sockets"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "to attach to the cgroup's connect hooks"},
}

// checkRequirements returns in one error all that the machine or the process lacks.
func checkRequirements() error {
	return errors.Join(checkKernel(release), checkBTF(), checkCapabilities())
}

// checkKernel takes what returns the kernel's release, as uname(2) does.
func checkKernel(release func() (string, error)) error {
	running, err := release()
	if err != nil {
		return fmt.Errorf("read the kernel's version: %w", err)
	}
	var major, minor uint32
	if n, _ := fmt.Sscanf(running, "%d.%d", &major, &minor); n != 2 {
		return fmt.Errorf("read the kernel's version: %q is none", running)
	}
	if major<<16|minor<<8 < minKernel {
		return fmt.Errorf("this kernel is %d.%d, at least 5.15 is needed: upgrade the node's kernel", major, minor)
	}
	return nil
}

// release asks uname: the vDSO that has LINUX_VERSION_CODE is out of reach for a process that
// has file capabilities and is not root's.
func release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}

func checkBTF() error {
	if _, err := btf.LoadKernelSpec(); err != nil {
		return fmt.Errorf("no BTF of the running kernel (%w): use a kernel that is built with CONFIG_DEBUG_INFO_BTF=y, "+
			"and see that /sys/kernel/btf/vmlinux is readable here", err)
	}
	return nil
}

func checkCapabilities() error {
	effective, err := capabilities()
	if err != nil {
		return fmt.Errorf("read this process's capabilities: %w", err)
	}
	var lacking []string
	for _, c := range needed {
		// CAP_SYS_ADMIN stands for the two that were split off from it.
		admin := c.bit != unix.CAP_NET_ADMIN && effective&(1<<unix.CAP_SYS_ADMIN) != 0
		if effective&(1<<c.bit) == 0 && !admin {
			lacking = append(lacking, fmt.Sprintf("%s is missing, it is needed %s", c.name, c.why))
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return fmt.Errorf("%s: run as root, add it to the container's securityContext.capabilities, or give it to the binary with setcap",
		strings.Join(lacking, "; "))
}

func capabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, err
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}
