// SPDX-License-Identifier: Apache-2.0

// Package testhost makes hosts for tests: network namespaces with an address of
// their own that reach each other over a bridge. The namespace of the test itself is
// left as it is, but for Network.Node. Everything is gone when the test ends, also when it failed.
package testhost

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// RequireRoot skips the test loudly without root, and fails it where the environment
// says that the kernel tests must run (KMESH_REQUIRE_KERNEL=1).
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("KMESH_REQUIRE_KERNEL") == "1" {
		t.Fatal("kernel tests must run here (KMESH_REQUIRE_KERNEL=1) and need root")
	}
	t.Skip("SKIPPED, NOT TESTED: loading BPF programs and making network namespaces need root")
}

// Network joins hosts: a namespace with a bridge in it.
type Network struct {
	t      testing.TB
	bridge string
	hosts  int
}

// Host is one network namespace.
type Host struct {
	t    testing.TB
	name string // of the namespace
}

var networks atomic.Uint32

// NewNetwork makes a network without hosts.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	RequireRoot(t)
	// The process's number keeps packages that are tested at the same time apart.
	n := &Network{t: t, bridge: fmt.Sprintf("kmesh-%d-%d", os.Getpid(), networks.Add(1))}
	addNamespace(t, n.bridge)
	run(t, "ip", "-n", n.bridge, "link", "add", "bridge", "type", "bridge")
	run(t, "ip", "-n", n.bridge, "link", "set", "bridge", "up")
	return n
}

// Host adds a host with the addresses, each in CIDR form, IPv4 or IPv6. All the
// network's addresses must be in one subnet to reach each other.
func (n *Network) Host(name string, cidrs ...string) *Host {
	n.t.Helper()
	n.hosts++
	h := &Host{t: n.t, name: n.bridge + "-" + name}
	port := fmt.Sprintf("port%d", n.hosts)
	addNamespace(n.t, h.name)
	run(n.t, "ip", "-n", n.bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", h.name)
	run(n.t, "ip", "-n", n.bridge, "link", "set", port, "master", "bridge", "up")
	h.Run("ip", "link", "set", "lo", "up")
	for _, cidr := range cidrs {
		args := []string{"addr", "add", cidr, "dev", "eth0"}
		if strings.Contains(cidr, ":") {
			args = append(args, "nodad") // usable at once, not after duplicate detection
		}
		h.Run("ip", args...)
	}
	h.Run("ip", "link", "set", "eth0", "up")
	return h
}

// Node joins the test's own namespace to the network, with an address, as a node is joined to its pods: it forwards what
// comes from them.  It gives the name of the link there, which is gone with the network.
func (n *Network) Node(cidr string) string {
	n.t.Helper()
	link := fmt.Sprintf("km%d-%d", os.Getpid(), networks.Add(1))
	run(n.t, "ip", "-n", n.bridge, "link", "add", "node", "type", "veth", "peer", "name", link, "netns", strconv.Itoa(os.Getpid()))
	n.t.Cleanup(func() {
		if out, err := exec.Command("ip", "link", "del", link).CombinedOutput(); err != nil { // #nosec G204
			n.t.Errorf("remove the link %s: %v: %s", link, err, out)
		}
	})
	run(n.t, "ip", "-n", n.bridge, "link", "set", "node", "master", "bridge", "up")
	run(n.t, "ip", "addr", "add", cidr, "dev", link)
	run(n.t, "ip", "link", "set", link, "up")
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+link+"/forwarding", []byte("1"), 0); err != nil {
		n.t.Fatal(err)
	}
	return link
}

// Namespace is the file of the host's network namespace.
func (h *Host) Namespace() string { return "/run/netns/" + h.name }

// Run runs a command in the host's namespace; it fails the test if the command does.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	return run(h.t, "ip", append([]string{"netns", "exec", h.name, name}, args...)...)
}

// Command gives a command that will run in the host's namespace.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.name, name}, args...)...) // #nosec G204 -- the test's own words
}

// Do calls f on a thread that is in the host's namespace: sockets that f makes
// itself, and not in other goroutines, belong to the host wherever they are used.
func (h *Host) Do(f func()) {
	h.t.Helper()
	if err := within(h.Namespace(), f); err != nil {
		h.t.Fatal(err)
	}
}

func within(path string, f func()) error {
	namespace, err := os.Open(path) // #nosec G304 -- made by this package
	if err != nil {
		return err
	}
	defer func() { _ = namespace.Close() }()
	OnThread(func() {
		if err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter %s: %w", path, err)
			return
		}
		f()
	})
	return err
}

// OnThread calls f on a thread that ends with it, and returns when it has: whatever f makes of the thread, no other
// goroutine finds itself on it. f may end its goroutine, as a failed assertion does.
func OnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread never ends, and the whole process would look like what f makes of it. As it is taken
			// now, the next goroutine is on another.
			OnThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

func addNamespace(t testing.TB, name string) {
	t.Helper()
	run(t, "ip", "netns", "add", name)
	removeNamespace(t, name)
}

// removeNamespace removes it when the test ends.
func removeNamespace(t testing.TB, name string) {
	t.Helper()
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil { // #nosec G204
			t.Errorf("remove the namespace %s: %v: %s", name, err, out)
		}
	})
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput() // #nosec G204 -- the test's own words
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing: install iproute2", name)
	}
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
