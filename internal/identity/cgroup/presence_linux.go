// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	// wantedFor is how long after a question about a pod its processes are looked for, not only its folder.
	wantedFor = 30 * time.Second
	// fresh is how long before a question a walk may have been that answers it. A pod's address is not used again so soon.
	fresh = 100 * time.Millisecond
)

// presences are when pods were last seen on this node.
type presences struct {
	began time.Time
	seen  *xsync.Map[identity.PodUID, *atomic.Int64] // the beginning of the last walk that found it, since began
	last  atomic.Int64                               // the beginning of the last walk
	asked atomic.Int64                               // the last question that a walk is to answer
	open  atomic.Bool                                // there is such a question
}

func newPresences() *presences {
	return &presences{began: time.Now(), seen: xsync.NewMap[identity.PodUID, *atomic.Int64]()}
}

func (p *presences) since(at time.Time) int64 { return int64(at.Sub(p.began)) }

// presence answers for a pod; ask means that a walk is needed.
func (p *presences) presence(pod identity.PodUID, at time.Time) (presence identity.Presence, ask bool) {
	when, known := p.seen.Load(pod)
	if !known {
		return identity.PresenceUnknown, false
	}
	p.asked.Store(p.since(time.Now()))
	seen, last := when.Load(), p.last.Load()
	switch {
	case p.since(at)-int64(fresh) <= seen:
		return identity.PresenceHere, false
	case seen < last:
		return identity.PresenceGone, false
	}
	p.open.Store(true)
	return identity.PresenceSought, true
}

// wanted returns whether somebody asked lately.
func (p *presences) wanted(now time.Time) bool {
	asked := p.asked.Load()
	return asked != 0 && p.since(now)-asked < int64(wantedFor)
}

// found notes a pod in the walk that began at the time now.
func (p *presences) found(pod identity.PodUID, now time.Time) {
	when, known := p.seen.Load(pod)
	if !known {
		if p.seen.Size() >= maxKnown {
			return
		}
		when = new(atomic.Int64)
		p.seen.Store(pod, when)
	}
	when.Store(p.since(now))
}

// walked notes the end of that walk, forgets pods that are gone for long, and returns whether somebody waits for an answer.
func (p *presences) walked(now time.Time) bool {
	p.last.Store(p.since(now))
	for pod, when := range p.seen.All() {
		if p.since(now)-when.Load() > int64(remember) {
			p.seen.Delete(pod)
		}
	}
	return p.open.Swap(false)
}
