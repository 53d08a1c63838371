// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

const (
	// unseen is how long before its end a watch may have missed events.
	unseen = time.Second
	// shortGap is a gap between two watches that is too short to miss anything: every watch ends after some minutes.
	shortGap = 500 * time.Millisecond
	// longGap is how long there may be no watch until that is reported, whatever the reason.
	longGap = 3 * time.Second
	// catchUp is how long a watch takes to report what happened while there was none.
	catchUp = 2 * time.Second
)

// watchGap is a time without a watch, in which an address may have passed to another pod. What the index knows of such a time is
// not certain, and a record waits as it does for a name that is not known at all.
type watchGap struct {
	since atomic.Int64 // when the gap began, in ns of the wall clock; 0: there is none

	mu      sync.Mutex
	ended   time.Time // when the last watch ended; zero: it goes on, or never began
	resumed time.Time // when the one after it began; zero: none has
}

// end notes that a watch ended.
func (g *watchGap) end(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended, g.resumed = now, time.Time{}
	g.since.CompareAndSwap(0, now.Add(-unseen).UnixNano()) // else the gap before it is not over
}

// begin notes that the next watch began.
func (g *watchGap) begin(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended.IsZero() {
		return
	}
	g.resumed = now
	if g.since.Load() == g.ended.Add(-unseen).UnixNano() && now.Sub(g.ended) < shortGap {
		g.clear()
	}
}

// tick returns true when the gap has just ended.
func (g *watchGap) tick(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.resumed.IsZero() || now.Sub(g.resumed) < catchUp {
		return false
	}
	g.clear()
	return true
}

// lasts returns whether there has been no watch for long. When connections break, the client retries by itself, for 10 s and
// without an error.
func (g *watchGap) lasts(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.ended.IsZero() && g.resumed.IsZero() && now.Sub(g.ended) >= longGap
}

func (g *watchGap) clear() {
	g.ended, g.resumed = time.Time{}, time.Time{}
	g.since.Store(0)
}

// covers returns whether a connection that began at the time may belong to another holder of its address than the known one.
func (g *watchGap) covers(at time.Time) bool {
	since := g.since.Load()
	return since != 0 && at.UnixNano() >= since
}

// endingWatch calls end when it ends: the informer stops each watch when it is done with it.
type endingWatch struct {
	watch.Interface
	once sync.Once
	end  func()
}

func (w *endingWatch) Stop() {
	w.once.Do(w.end)
	w.Interface.Stop()
}
