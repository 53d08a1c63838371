// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// proc is a Tree on a host with cgroups of version 1, whose /proc a test writes.
func proc(t *testing.T) *Tree {
	tree := forest(t)
	folder := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "self/ns"), 0o755))
	require.NoError(t, os.Symlink(hostNamespace, filepath.Join(folder, "self/ns/pid")))
	tree.processes, tree.hybrid = newProcesses(folder), true
	require.NotNil(t, tree.processes)
	return tree
}

// begin writes a process that started so many ticks after the machine.
func (t *Tree) begin(tb testing.TB, pid, ticks int, cgroups ...string) {
	tb.Helper()
	folder := filepath.Join(t.processes.proc, fmt.Sprint(pid))
	require.NoError(tb, os.MkdirAll(folder, 0o755))
	stat := fmt.Sprintf("%d (a ) name) S%s %d 0 0\n", pid, strings.Repeat(" 1", 18), ticks)
	require.NoError(tb, os.WriteFile(filepath.Join(folder, "stat"), []byte(stat), 0o600))
	require.NoError(tb, os.WriteFile(filepath.Join(folder, "cgroup"), []byte(strings.Join(cgroups, "\n")+"\n"), 0o600))
}

func TestProcessesTellWhereCgroupsAreOfVersionOne(t *testing.T) {
	tree := proc(t)
	tree.begin(t, 42, 1, "9:name=systemd:/kubepods/burstable/pod"+dashed+"/"+container, "0::/")
	tree.begin(t, 43, 1, "9:name=systemd:/system.slice/sshd.service", "0::/")
	now := time.Now()
	want := func(pid uint32, cgroup uint64, at time.Time, want identity.Place, pod identity.PodUID) {
		t.Helper()
		uid, place := tree.Locate(identity.Process{PID: pid, Cgroup: cgroup}, at)
		require.Equal(t, want, place)
		require.Equal(t, pod, uid)
	}
	none := identity.PodUID{}
	for _, pid := range []uint32{42, 43, 44} {
		want(pid, rootID, now, identity.PlaceSought, none)
	}
	require.True(t, tree.processes.look(now))
	require.False(t, tree.processes.look(now))
	want(42, rootID, now, identity.PlacePod, uidOf(t, dashed))
	want(43, rootID, now, identity.PlaceHost, none)
	want(44, rootID, now, identity.PlaceUnknown, none)
	want(0, rootID, now, identity.PlaceUnknown, none)

	// A service's cgroup of version 2 shows nothing: its child may be in a pod according to version 1.
	service := tree.grow(t, "system.slice/containerd.service")
	require.NoError(t, tree.walk(now))
	want(42, service.Cgroup, now, identity.PlacePod, uidOf(t, dashed))

	// What began later than we looked may be of another process with that number.
	later := time.Now().Add(time.Hour)
	want(42, rootID, later, identity.PlaceSought, none)
	// And the process that has the number now is not meant where the connection is older than it.
	want(42, rootID, now.Add(-1e6*time.Hour), identity.PlaceUnknown, none)
}

func TestNumbersOfAnotherNamespaceSayNothing(t *testing.T) {
	folder := t.TempDir()
	require.Nil(t, newProcesses(folder))
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "self/ns"), 0o755))
	require.NoError(t, os.Symlink("pid:[4026532000]", filepath.Join(folder, "self/ns/pid")))
	require.Nil(t, newProcesses(folder))
}

func TestThisProcessIsInNoPod(t *testing.T) {
	s := newProcesses("/proc")
	if s == nil {
		t.Skip("not in the host's PID namespace")
	}
	p := s.read(uint32(os.Getpid()))
	require.False(t, p.gone)
	require.Zero(t, p.pod)
	require.True(t, p.started.Before(p.looked))
	require.Less(t, p.looked.Sub(p.started), 10*time.Minute, "the test itself")
}
