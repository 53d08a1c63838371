// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// forest is a Tree over plain folders: their inode numbers are ids as good as those of cgroups.
func forest(t testing.TB) *Tree {
	tree := newTree(t.TempDir())
	tree.processes, tree.hybrid = nil, false
	return tree
}

func (t *Tree) grow(tb testing.TB, path string) identity.Process {
	tb.Helper()
	folder := filepath.Join(t.root, path)
	require.NoError(tb, os.MkdirAll(folder, 0o755))
	var s unix.Stat_t
	require.NoError(tb, unix.Stat(folder, &s))
	return identity.Process{PID: 42, Cgroup: s.Ino}
}

func uidOf(t testing.TB, text string) identity.PodUID {
	t.Helper()
	uid, ok := identity.ParsePodUID(text)
	require.True(t, ok)
	return uid
}

func (t *Tree) requirePlace(tb testing.TB, p identity.Process, want identity.Place, pod identity.PodUID) {
	tb.Helper()
	uid, place := t.Locate(p, noon)
	require.Equal(tb, want, place)
	require.Equal(tb, pod, uid)
}

func TestWhoeverIsBelowAPodIsThePods(t *testing.T) {
	tree := forest(t)
	pod := "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + underlined + ".slice"
	folder, container := tree.grow(t, pod), tree.grow(t, pod+"/cri-containerd-"+container+".scope")
	service, inside := tree.grow(t, "system.slice/sshd.service"), tree.grow(t, pod+"/a.scope/b/c")
	require.NoError(t, tree.walk(noon))
	for _, p := range []identity.Process{folder, container, inside} {
		tree.requirePlace(t, p, identity.PlacePod, uidOf(t, dashed))
	}
	tree.requirePlace(t, service, identity.PlaceHost, identity.PodUID{})
}

func TestACgroupIsSoughtUntilAWalkThatBeganLater(t *testing.T) {
	tree := forest(t)
	require.NoError(t, tree.walk(noon))
	there := tree.grow(t, "kubepods/pod"+dashed+"/c")
	gone := identity.Process{Cgroup: 1 << 60}
	for _, p := range []identity.Process{there, gone, there} {
		tree.requirePlace(t, p, identity.PlaceSought, identity.PodUID{})
	}
	require.Len(t, tree.wake, 1)
	before := tree.Generation()
	require.NoError(t, tree.walk(noon))
	require.Greater(t, tree.Generation(), before, "records that wait are tried again")
	tree.requirePlace(t, there, identity.PlacePod, uidOf(t, dashed))
	tree.requirePlace(t, gone, identity.PlaceUnknown, identity.PodUID{})
	before = tree.Generation()
	require.NoError(t, tree.walk(noon))
	require.Equal(t, before, tree.Generation(), "nothing is asked any more")
}

func TestACgroupThatIsGoneIsRememberedForAWhile(t *testing.T) {
	tree := forest(t)
	p := tree.grow(t, "kubepods/pod"+dashed)
	require.NoError(t, tree.walk(noon))
	require.NoError(t, os.RemoveAll(filepath.Join(tree.root, "kubepods")))
	require.NoError(t, tree.walk(noon.Add(remember)))
	tree.requirePlace(t, p, identity.PlacePod, uidOf(t, dashed))
	require.NoError(t, tree.walk(noon.Add(remember+1)))
	tree.requirePlace(t, p, identity.PlaceSought, identity.PodUID{})
}

func TestAWalkIsBounded(t *testing.T) {
	tree := forest(t)
	deep := "kubepods/pod" + dashed
	for range 2 * maxDepth {
		deep += "/d"
	}
	tree.grow(t, deep)
	for i := range 2 * maxAsked {
		tree.Locate(identity.Process{Cgroup: uint64(1<<50 + i)}, noon)
	}
	require.LessOrEqual(t, tree.asked.Size(), maxAsked)
	require.NoError(t, tree.walk(noon))
	require.LessOrEqual(t, tree.known.Size(), maxDepth+3)

	visits := 0
	w := walker{visit: func(uint64, position) bool { visits++; return visits < 2 }}
	require.NoError(t, w.walk(tree.root))
	require.LessOrEqual(t, visits, 4)
}

func TestOpenLooksByItself(t *testing.T) {
	tree, err := Open(t.TempDir())
	require.ErrorIs(t, err, ErrPartial)
	defer func() { require.NoError(t, tree.Close()) }()
	tree.hybrid = false
	p := tree.grow(t, "kubepods/pod"+dashed)
	require.Eventually(t, func() bool {
		uid, place := tree.Locate(p, noon)
		return place == identity.PlacePod && uid == uidOf(t, dashed)
	}, 10*time.Second, time.Millisecond)

	_, err = Open(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAKnownPlaceAllocatesNothing(t *testing.T) {
	tree := forest(t)
	p := tree.grow(t, "kubepods/pod"+dashed)
	require.NoError(t, tree.walk(noon))
	require.Zero(t, testing.AllocsPerRun(1000, func() { tree.Locate(p, noon) }))
}

func BenchmarkLocate(b *testing.B) {
	tree := forest(b)
	p := tree.grow(b, "kubepods/pod"+dashed)
	require.NoError(b, tree.walk(noon))
	b.ReportAllocs()
	for b.Loop() {
		if _, place := tree.Locate(p, noon); place != identity.PlacePod {
			b.Fatal("not known")
		}
	}
}

// BenchmarkWalk walks 100 services and 110 pods of three containers each, cgroups where those can be made.
func BenchmarkWalk(b *testing.B) {
	root := os.Getenv("KMESH_BENCH_CGROUP") // a folder of cgroup v2
	tree := forest(b)
	if root != "" {
		tree.root = filepath.Join(root, fmt.Sprint("bench-", os.Getpid()))
		b.Cleanup(func() { fell(tree.root) })
	}
	for i := range 100 {
		tree.grow(b, fmt.Sprintf("system.slice/%d.service", i))
	}
	for i := range 110 {
		for c := range 3 {
			tree.grow(b, fmt.Sprintf("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%032x.slice/cri-containerd-%d.scope", i+1, c))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, tree.walk(noon))
	}
	b.ReportMetric(float64(tree.known.Size()), "cgroups")
}

// fell removes cgroups. Their files disappear with them.
func fell(root string) {
	entries, _ := os.ReadDir(root)
	for _, e := range entries {
		if e.IsDir() {
			fell(filepath.Join(root, e.Name()))
		}
	}
	_ = unix.Rmdir(root)
}
