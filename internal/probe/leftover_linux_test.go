// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// hold makes the test's binary a process that opens a Probe on the cgroup folder, says so on
// its output, and keeps it open until its input ends.
const hold = "KMESH_TEST_HOLD"

func init() {
	roles[hold] = func(cgroup string) error {
		p, err := Open(Options{CgroupPath: cgroup, Exclusive: true})
		if err != nil {
			return err
		}
		fmt.Println("open")
		_, err = io.Copy(io.Discard, os.Stdin)
		return errors.Join(err, p.Close())
	}
}

// holdings are the numbers of what a process keeps in the kernel.
type holdings struct {
	programs map[ebpf.ProgramID]string // with their names
	links    map[link.ID]bool
	maps     map[ebpf.MapID]bool
}

// held reads what a process has descriptors of, and the maps that its programs use.
func held(t *testing.T, pid int) holdings {
	t.Helper()
	h := holdings{map[ebpf.ProgramID]string{}, map[link.ID]bool{}, map[ebpf.MapID]bool{}}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) { // that of the search itself
			continue
		}
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			var id uint32
			if n, _ := fmt.Sscanf(line, "prog_id: %d", &id); n == 1 {
				h.addProgram(t, ebpf.ProgramID(id))
			}
			if n, _ := fmt.Sscanf(line, "link_id: %d", &id); n == 1 {
				h.links[link.ID(id)] = true
			}
			if n, _ := fmt.Sscanf(line, "map_id: %d", &id); n == 1 {
				h.maps[ebpf.MapID(id)] = true
			}
		}
	}
	return h
}

func (h *holdings) addProgram(t *testing.T, id ebpf.ProgramID) {
	t.Helper()
	program, err := ebpf.NewProgramFromID(id)
	require.NoError(t, err)
	defer func() { _ = program.Close() }()
	described, err := program.Info()
	require.NoError(t, err)
	h.programs[id] = described.Name
	maps, _ := described.MapIDs()
	for _, m := range maps {
		h.maps[m] = true
	}
}

// requireProbe checks that what a Probe needs is among the holdings: without it, its absence
// afterwards would show nothing.
func (h *holdings) requireProbe(t *testing.T) {
	t.Helper()
	var names []string
	for _, name := range h.programs {
		names = append(names, name)
	}
	for _, name := range []string{"set_state", "destroy_sock", "connect4", "connect6"} {
		require.Contains(t, names, name)
	}
	require.GreaterOrEqual(t, len(h.links), 4, "the tracepoint, two connect hooks, the iterator")
	require.GreaterOrEqual(t, len(h.maps), 8)
}

// requireGone waits until the kernel knows none of them any more: it frees them in the
// background. Attached or pinned ones it would keep.
func (h *holdings) requireGone(t *testing.T) {
	t.Helper()
	for id, name := range h.programs {
		requireNone(t, "program "+name, func() (io.Closer, error) { return ebpf.NewProgramFromID(id) })
	}
	for id := range h.links {
		requireNone(t, "link", func() (io.Closer, error) { return link.NewFromID(id) })
	}
	for id := range h.maps {
		requireNone(t, "map", func() (io.Closer, error) { return ebpf.NewMapFromID(id) })
	}
}

// An idle machine takes some seconds until no CPU can be in a program any more, a busy one longer. The maps of the tests
// before this one are freed first, one after the other.
const freed = 3 * time.Minute

func requireNone(t *testing.T, what string, find func() (io.Closer, error)) {
	t.Helper()
	require.Eventually(t, func() bool {
		found, err := find()
		if err == nil {
			_ = found.Close()
		}
		return errors.Is(err, os.ErrNotExist)
	}, freed, 10*time.Millisecond, "the kernel keeps a %s", what)
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	testhost.RequireRoot(t)
	before := held(t, os.Getpid())
	p, err := Open(Options{})
	require.NoError(t, err)
	opened := held(t, os.Getpid())
	maps.DeleteFunc(opened.programs, func(id ebpf.ProgramID, _ string) bool { return before.programs[id] != "" })
	maps.DeleteFunc(opened.links, func(id link.ID, _ bool) bool { return before.links[id] })
	maps.DeleteFunc(opened.maps, func(id ebpf.MapID, _ bool) bool { return before.maps[id] })
	opened.requireProbe(t)
	require.NoError(t, p.Close())
	runtime.GC() // ends the mapping of the programs' variables, and so their maps
	opened.requireGone(t)
}

// A process that is killed cleans up nothing itself.
func TestNothingIsLeftAfterKill(t *testing.T) {
	ownNode(t)
	cgroup := ownCgroup(t)
	holder := holding(t, cgroup, nil)
	_, err := Open(Options{CgroupPath: cgroup, Exclusive: true})
	require.ErrorContains(t, err, "another kmesh receiver watches this node already")

	holds := held(t, holder.Process.Pid)
	holds.requireProbe(t)
	require.NoError(t, holder.Process.Kill())
	require.Error(t, holder.Wait())
	holds.requireGone(t)

	// And a new one starts as if there had been none.
	p, err := Open(Options{CgroupPath: cgroup, Exclusive: true})
	require.NoError(t, err)
	assert.NoError(t, p.Close())
}
