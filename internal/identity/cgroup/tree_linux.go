// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v4"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	walkInterval = time.Second
	// minPause and restShare bound what questions can cost: after a walk there is a pause of at least minPause, and of
	// restShare times what it took.
	minPause  = 100 * time.Millisecond
	restShare = 20

	// maxKnown bounds the cgroups that are remembered, maxAsked those that are looked for at once.
	maxKnown = 65_536
	maxAsked = 4_096
	// remember is how long a folder that is gone is known: connections outlive their process by some minutes at most.
	remember = 10 * time.Minute

	// rootID is the id of the root of cgroup v2, in every kernel.
	rootID = 1
)

// place is what is known of a cgroup, and never changes: ids are not used again.
type place struct {
	pod  identity.PodUID
	seen time.Time // the last walk that found it; the walker's
}

func (p *place) answer() (identity.PodUID, identity.Place) { return placeOf(p.pod) }

func placeOf(pod identity.PodUID) (identity.PodUID, identity.Place) {
	if pod == (identity.PodUID{}) {
		return pod, identity.PlaceHost
	}
	return pod, identity.PlacePod
}

// Tree is an identity.Locator over a mounted cgroup v2 hierarchy.
type Tree struct {
	root       string
	known      *xsync.Map[uint64, *place]
	pods       *presences
	asked      *xsync.Map[uint64, uint64] // the walk that will have found it if it is there
	processes  *processes                 // nil: PIDs mean nothing here
	hybrid     bool                       // there are hierarchies of version 1 too, and those may be the pods'
	begun      atomic.Uint64              // walks, as are
	finished   atomic.Uint64
	generation atomic.Uint64
	seeking    atomic.Bool // an id was asked for since the last walk began
	wake       chan struct{}
	stop       context.CancelFunc
	done       sync.WaitGroup
}

var _ identity.Locator = (*Tree)(nil)

// ErrPartial means that only a part of the host's cgroups is visible.
var ErrPartial = errors.New("only a part of the host's cgroups can be seen here")

// Open begins to watch the hierarchy that is mounted at root, and returns when it was walked once. Of a root that is not the
// host's the Tree comes with ErrPartial.
func Open(root string) (*Tree, error) {
	var at unix.Stat_t
	if err := unix.Stat(root, &at); err != nil {
		return nil, fmt.Errorf("look at %s: %w", root, err)
	}
	t := newTree(root)
	if err := t.walk(time.Now()); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.done.Go(func() { t.watch(ctx) })
	if at.Ino != rootID {
		return t, ErrPartial
	}
	return t, nil
}

// ByProcess returns whether, on this host, a Tree may need the process to find the pod: version 1's hierarchies are then there
// too, and the id of version 2 may be that of the root.
func ByProcess() bool { return hybrid("/proc/self/cgroup") }

// hybrid returns, from a process's cgroups, whether there are some that are not version 2's.
func hybrid(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && bytes.Count(text, []byte("\n")) > 1
}

func newTree(root string) *Tree {
	return &Tree{
		root:      root,
		known:     xsync.NewMap[uint64, *place](),
		pods:      newPresences(),
		asked:     xsync.NewMap[uint64, uint64](),
		processes: newProcesses("/proc"),
		hybrid:    hybrid("/proc/self/cgroup"),
		wake:      make(chan struct{}, 1),
		stop:      func() {},
	}
}

// Close may be called twice.
func (t *Tree) Close() error {
	t.stop()
	t.done.Wait()
	return nil
}

// Generation implements identity.Locator.
func (t *Tree) Generation() uint64 { return t.generation.Load() }

// Present implements identity.Locator.
func (t *Tree) Present(pod identity.PodUID, at time.Time) identity.Presence {
	presence, ask := t.pods.presence(pod, at)
	if ask {
		t.seeking.Store(true)
		t.rouse()
	}
	return presence
}

// Locate implements identity.Locator.
func (t *Tree) Locate(p identity.Process, at time.Time) (identity.PodUID, identity.Place) {
	if p.Cgroup <= rootID {
		return t.locateProcess(p.PID, at)
	}
	if known, ok := t.known.Load(p.Cgroup); ok {
		if t.hybrid && known.pod == (identity.PodUID{}) {
			return t.locateProcess(p.PID, at)
		}
		return known.answer()
	}
	// A walk that is under way may have passed the place already.
	by, asked := t.asked.Load(p.Cgroup)
	switch {
	case asked && t.finished.Load() < by:
		return identity.PodUID{}, identity.PlaceSought
	case asked:
		return identity.PodUID{}, identity.PlaceUnknown
	case t.asked.Size() >= maxAsked:
		return identity.PodUID{}, identity.PlaceSought
	}
	t.asked.Store(p.Cgroup, t.begun.Load()+1)
	t.seeking.Store(true)
	t.rouse()
	return identity.PodUID{}, identity.PlaceSought
}

// locateProcess is for sockets in the root, where processes are whose pods' cgroups are not of version 2.
func (t *Tree) locateProcess(pid uint32, at time.Time) (identity.PodUID, identity.Place) {
	if t.processes == nil || pid == 0 {
		return identity.PodUID{}, identity.PlaceUnknown
	}
	pod, place, ask := t.processes.locate(pid, at)
	if ask {
		t.rouse()
	}
	return pod, place
}

func (t *Tree) rouse() {
	select {
	case t.wake <- struct{}{}:
	default: // the look follows anyway
	}
}

func (t *Tree) watch(ctx context.Context) {
	ticker := time.NewTicker(walkInterval)
	defer ticker.Stop()
	for {
		due := false
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			due = true
		case <-t.wake:
		}
		now := time.Now()
		if t.processes != nil && t.processes.look(now) {
			t.generation.Add(1)
		}
		if due || t.seeking.Load() { // a process alone needs no walk
			_ = t.walk(now) // what is known stays, and what is not known is not found
		}
		timer := time.NewTimer(max(minPause, restShare*time.Since(now)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// walk learns all cgroups that are there.
func (t *Tree) walk(now time.Time) error {
	t.seeking.Store(false)
	number := t.begun.Add(1)
	w := walker{visit: func(id uint64, at position) bool { return t.learn(id, at, now) }}
	if t.pods.wanted(now) {
		w.populated = func(at position) { t.pods.found(at.pod, now) }
	} else {
		w.present = func(at position) { t.pods.found(at.pod, now) }
	}
	err := w.walk(t.root)
	t.finished.Store(number)
	if err == nil && t.pods.walked(now) {
		t.generation.Add(1)
	}
	for id, by := range t.asked.All() {
		if by == number {
			t.generation.Add(1)
		}
		if _, found := t.known.Load(id); found || by < number && number-by > uint64(remember/walkInterval) {
			t.asked.Delete(id)
		}
	}
	for id, p := range t.known.All() {
		if now.Sub(p.seen) > remember {
			t.known.Delete(id)
		}
	}
	return err
}

// learn is false when no more can be known.
func (t *Tree) learn(id uint64, at position, now time.Time) bool {
	if p, ok := t.known.Load(id); ok {
		p.seen = now
		return true
	}
	if t.known.Size() >= maxKnown {
		return false
	}
	t.known.Store(id, &place{pod: at.pod, seen: now})
	return true
}
