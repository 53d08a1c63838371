// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"slices"
	"time"
)

// history is who had one key, by the beginning of the tenures. It is never changed, only replaced.
type history[T any] struct {
	tenures []tenure[T]
	// forgotten is where the last tenure ended that is not kept any more; always: none was.
	forgotten moment
}

// statusLag is how much older than its first report a connection may be where the status shows when the holder began: a
// kubelet looks once a second.
const statusLag = 3 * time.Second

// oneTenure is the usual history, in one piece of memory.
type oneTenure[T any] struct {
	history[T]
	room [1]tenure[T]
}

func newHistory[T any](t tenure[T]) *history[T] {
	h := &oneTenure[T]{room: [1]tenure[T]{t}}
	h.tenures, h.forgotten = h.room[:], always
	return &h.history
}

// moment returns the time for which to look at the tenures when a connection began at the time at; ok is false when no
// tenure can be meant, and settled when that will not change.
//
// Nobody's tenure may cover it. It then belongs to the next tenure if that began soon after: a new holder is always reported
// after its first connections may have begun. Never to the one before: an end, too, is reported only when it is past, so its
// holder was already gone.
func (h *history[T]) moment(at moment, lag time.Duration) (t moment, ok, settled bool) {
	next := -1
	for i := range h.tenures {
		if h.tenures[i].covers(at) {
			return at, true, true
		}
		if next < 0 && h.tenures[i].from > at {
			next = i
		}
	}
	if at < h.forgotten {
		return at, false, true // it was someone who is not known any more
	}
	if next >= 0 && h.tenures[next].from.since(at) <= h.tenures[next].lag(lag) {
		return h.tenures[next].from, true, true
	}
	return at, false, false
}

func (t *tenure[T]) lag(most time.Duration) time.Duration {
	if t.begins.mark() {
		return most
	}
	return min(most, statusLag)
}

// former returns the tenure that covers the time, or else the last one that ended before; nil: there is none.
func (h *history[T]) former(at moment) *tenure[T] {
	var best *tenure[T]
	for i := range h.tenures {
		t := &h.tenures[i]
		switch {
		case t.from > at:
		case t.covers(at), best == nil, !best.covers(at) && t.until > best.until:
			best = t
		}
	}
	return best
}

// begin returns the history with one tenure more. Of tenures that began together the newer one comes last.
func (h *history[T]) begin(added tenure[T], after func(a, b *T) bool) *history[T] {
	if h == nil {
		return newHistory(added)
	}
	at := len(h.tenures)
	for at > 0 {
		before := &h.tenures[at-1]
		if before.from < added.from || before.from == added.from && after(added.holder, before.holder) {
			break
		}
		at--
	}
	return &history[T]{tenures: slices.Insert(slices.Clone(h.tenures), at, added), forgotten: h.forgotten}
}

// replace returns the history in which the holder's tenure that is not over has its successor. Where its beginning was but
// reported, and is known now, it is put right.
func (h *history[T]) replace(holder *T, next tenure[T], after func(a, b *T) bool) *history[T] {
	for i := range h.tenures {
		t := h.tenures[i]
		if t.holder != holder || !t.open() {
			continue
		}
		t.holder = next.holder
		if t.begins.mark() && !next.begins.mark() && next.from < t.from {
			t.from, t.begins = next.from, next.begins
		}
		if len(h.tenures) == 1 {
			one := newHistory(t)
			one.forgotten = h.forgotten
			return one
		}
		rest := &history[T]{tenures: slices.Delete(slices.Clone(h.tenures), i, i+1), forgotten: h.forgotten}
		if t.from == h.tenures[i].from {
			rest.tenures = slices.Insert(rest.tenures, i, t)
			return rest
		}
		return rest.begin(t, after)
	}
	return h
}

// end returns the history in which the holder has the key no more.
func (h *history[T]) end(holder *T, until moment, ends vagueness) *history[T] {
	tenures := slices.Clone(h.tenures)
	for i := range tenures {
		if t := &tenures[i]; t.holder == holder && t.open() {
			t.until, t.ends = until, ends
		}
	}
	return &history[T]{tenures: tenures, forgotten: h.forgotten}
}

// forget returns the history without the tenures that ended at the time until or before, or nil when none is left.
func (h *history[T]) forget(until moment) *history[T] {
	kept := history[T]{forgotten: h.forgotten}
	for _, t := range h.tenures {
		switch {
		case t.until > until:
			kept.tenures = append(kept.tenures, t)
		case t.until > kept.forgotten:
			kept.forgotten = t.until
		}
	}
	if len(kept.tenures) == 0 {
		return nil
	}
	return &kept
}

// holds returns whether the holder has the key now.
func (h *history[T]) holds(holder *T) bool {
	return h != nil && slices.ContainsFunc(h.tenures, func(t tenure[T]) bool { return t.holder == holder && t.open() })
}
