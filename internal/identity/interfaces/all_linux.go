// SPDX-License-Identifier: Apache-2.0

package interfaces

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// maxNamespaces bounds what is read: anybody can make namespaces.
const maxNamespaces = 4096

// named are the folders in which ip(8), container runtimes and CNI keep namespaces that need no process.
var named = []string{"/run/netns", "/run/docker/netns"}

// All returns the addresses of all network namespaces of this machine that can be seen: those of processes, and those that have a
// name. It is an error only if not even this process's own can be read.
func All() ([]netip.Addr, error) {
	own, err := Own()
	if err != nil {
		return nil, err
	}
	seen := make(map[string]struct{})
	all := own
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range processes {
		id, err := os.Readlink(folder + "/ns/net")
		if err != nil { // it can be read all the same, but not distinguished from the others
			id = folder
		}
		if _, known := seen[id]; known || len(seen) >= maxNamespaces {
			continue
		}
		seen[id] = struct{}{}
		all = append(all, ofProcess(folder)...)
	}
	for _, folder := range named {
		entries, _ := os.ReadDir(folder)
		for _, entry := range entries {
			path := folder + "/" + entry.Name()
			id := idOf(path)
			if _, known := seen[id]; known || len(seen) >= maxNamespaces {
				continue
			}
			seen[id] = struct{}{}
			all = append(all, ofNamed(path)...)
		}
	}
	return all, nil
}

// ofProcess reads what /proc shows of a process's network namespace; nothing, if it must not be read.
func ofProcess(folder string) []netip.Addr {
	trie, _ := os.ReadFile(folder + "/net/fib_trie")
	six, _ := os.ReadFile(folder + "/net/if_inet6")
	return append(parseTrie(trie), parseInet6(six)...)
}

// parseTrie returns the addresses that a fib_trie calls local: a leaf's address has lines below it that say what it is for.
func parseTrie(text []byte) []netip.Addr {
	var all []netip.Addr
	leaf := netip.Addr{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if text, ok := strings.CutPrefix(line, "|-- "); ok {
			leaf, _ = netip.ParseAddr(text)
			continue
		}
		if leaf.IsValid() && line == "/32 host LOCAL" {
			all = append(all, leaf)
			leaf = netip.Addr{} // it is in two tables
		}
	}
	return all
}

// parseInet6 returns the addresses of an if_inet6.
func parseInet6(text []byte) []netip.Addr {
	var all []netip.Addr
	for line := range bytes.Lines(text) {
		digits, _, _ := bytes.Cut(line, []byte(" "))
		var a [16]byte
		if len(digits) == 2*len(a) {
			if _, err := hex.Decode(a[:], digits); err == nil {
				all = append(all, netip.AddrFrom16(a).Unmap())
			}
		}
	}
	return all
}

// idOf is what /proc calls the namespace of a file.
func idOf(path string) string {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return path
	}
	return fmt.Sprintf("net:[%d]", s.Ino)
}

// ofNamed enters a namespace to look, on a thread that ends with it; nothing, if it must not.
func ofNamed(path string) []netip.Addr {
	result := make(chan []netip.Addr)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is good for nothing else
		if unix.Gettid() == unix.Getpid() {
			// The first thread never ends, and would show as what the whole process is. As it is taken, the next goroutine is on
			// another one.
			all := ofNamed(path)
			runtime.UnlockOSThread()
			result <- all
			return
		}
		result <- enter(path)
	}()
	return <-result
}

// enter takes the calling thread to a namespace for good.
func enter(path string) []netip.Addr {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	if unix.Setns(fd, unix.CLONE_NEWNET) != nil {
		return nil
	}
	all, _ := Own()
	return all
}
