// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"sync/atomic"
	"time"
)

// Gap is a time without a watch, in which an address may have passed to another pod. What the index knows of such a time is not
// certain. It is safe for concurrent use.
type Gap struct {
	began atomic.Int64 // a moment, or never: there is none
	count atomic.Uint64
	// The last one that is over: who came and went in it was never reported.
	from, until atomic.Int64
}

// NewGap returns one that has not begun.
func NewGap() *Gap {
	g := &Gap{}
	g.began.Store(int64(never))
	return g
}

// Begin notes that events may be missing since then. A gap that lasts goes on.
func (g *Gap) Begin(since time.Time) {
	if g.began.CompareAndSwap(int64(never), int64(momentOf(since))) {
		g.count.Add(1)
	}
}

// End notes that the present state is known again.
func (g *Gap) End() {
	if began := g.began.Load(); began != int64(never) {
		g.from.Store(began)
		g.until.Store(int64(momentOf(time.Now())))
		g.began.Store(int64(never))
		g.count.Add(1)
	}
}

// was returns whether a moment lies in the last gap that is over.
func (g *Gap) was(at moment) bool {
	return at >= moment(g.from.Load()) && at < moment(g.until.Load())
}

// Lasts returns for how long there has been no watch; 0: there is one.
func (g *Gap) Lasts(now time.Time) time.Duration {
	return max(0, g.into(momentOf(now)))
}

// into is how far a moment lies in the gap; negative: before it, or there is none.
func (g *Gap) into(at moment) time.Duration {
	began := moment(g.began.Load())
	if began == never || at < began {
		return -1
	}
	return at.since(began)
}
