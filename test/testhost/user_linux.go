// SPDX-License-Identifier: Apache-2.0

package testhost

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// UserHost makes a host as any user without privileges can: a network namespace in a user namespace of the user's own. It
// has the addresses on its loopback device and reaches nobody.
func UserHost(t testing.TB, name string, cidrs ...string) *Host {
	t.Helper()
	RequireRoot(t)
	h := &Host{t: t, name: fmt.Sprintf("kmesh-%d-%d-%s", os.Getpid(), networks.Add(1), name)}
	keeper := exec.Command("cat") // ends with its input
	id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: id, GidMappings: id}
	input, err := keeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatalf("make a user namespace: %v", err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		if err := keeper.Wait(); err != nil {
			t.Errorf("the process that keeps %s: %v", h.name, err)
		}
	})
	run(t, "ip", "netns", "attach", h.name, strconv.Itoa(keeper.Process.Pid))
	removeNamespace(t, h.name)
	h.Run("ip", "link", "set", "lo", "up")
	for _, cidr := range cidrs {
		h.Run("ip", "addr", "add", cidr, "dev", "lo")
	}
	return h
}

// Inode is the number of the host's network namespace.
func (h *Host) Inode() uint32 {
	h.t.Helper()
	var at unix.Stat_t
	if err := unix.Stat(h.Namespace(), &at); err != nil {
		h.t.Fatal(err)
	}
	return uint32(at.Ino)
}
