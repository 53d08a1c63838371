// SPDX-License-Identifier: Apache-2.0

package identity

import "time"

// history is who had one key. It is never changed, only replaced: the tenures are a list, so that the usual one of a single
// tenure is one small piece of memory.
type history[T any] struct {
	tenure[T]
	older *history[T] // began before; nil: none
	// forgotten is where the last tenure ended that is not kept any more; always: none was. It is that of the first one.
	forgotten moment
}

// statusLag is how much older than its first report a connection may be where the status shows when the holder began: a
// kubelet looks once a second.
const statusLag = 3 * time.Second

// all goes over the tenures, the newest first.
func (h *history[T]) all(yield func(*tenure[T]) bool) {
	for ; h != nil; h = h.older {
		if !yield(&h.tenure) {
			return
		}
	}
}

// alone returns whether the one holder that is known had the key for itself then, for certain.
func (h *history[T]) alone(at moment) bool {
	return h.older == nil && !h.shares() && h.ends == 0 && h.began() <= at && at < h.until
}

// moment returns the time for which to look at the tenures when a connection began at the time at; ok is false when no
// tenure can be meant, and settled when that will not change.
//
// Nobody's tenure may cover it. It then belongs to the next tenure if that began soon after: a new holder is always reported
// after its first connections may have begun. Never to the one before: an end, too, is reported only when it is past, so its
// holder was already gone.
func (h *history[T]) moment(at moment, lag time.Duration) (t moment, ok, settled bool) {
	var next *tenure[T]
	for e := h; e != nil; e = e.older {
		if e.covers(at) {
			return at, true, true
		}
		if e.from > at {
			next = &e.tenure
		}
	}
	if at < h.forgotten {
		return at, false, true // it was someone who is not known any more
	}
	if next != nil && next.from.since(at) <= next.lag(lag) {
		return next.from, true, true
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
	for t := range h.all {
		switch {
		case t.from > at:
		case t.covers(at):
			return t
		case best == nil || t.until > best.until:
			best = t
		}
	}
	return best
}

// begin returns the history with one tenure more; h may be nil. Of tenures that began together the newer one comes first.
func (h *history[T]) begin(added tenure[T], after func(a, b *T) bool) *history[T] {
	if h == nil {
		return &history[T]{tenure: added, forgotten: always}
	}
	if h.from < added.from || h.from == added.from && after(added.holder, h.holder) {
		return &history[T]{tenure: added, older: h, forgotten: h.forgotten}
	}
	return &history[T]{tenure: h.tenure, older: h.older.begin(added, after), forgotten: h.forgotten}
}

// change returns the history with each tenure as the function leaves it, without those for which it returns false.
func (h *history[T]) change(how func(*tenure[T]) bool) *history[T] {
	if h == nil {
		return nil
	}
	older, t := h.older.change(how), h.tenure
	if how(&t) {
		return &history[T]{tenure: t, older: older, forgotten: h.forgotten}
	}
	if older != nil {
		older.forgotten = max(older.forgotten, h.forgotten)
	}
	return older
}

// replace returns the history in which the holder's tenure that is not over has its successor. Where its beginning was but
// reported, and is known now, it is put right.
func (h *history[T]) replace(holder *T, next tenure[T], after func(a, b *T) bool) *history[T] {
	var moved *tenure[T]
	left := h.change(func(t *tenure[T]) bool {
		if t.holder != holder || !t.open() {
			return true
		}
		t.holder = next.holder
		t.begins = t.begins&^sharing | next.begins&sharing
		if !t.begins.mark() || next.begins.mark() || next.from >= t.from {
			return true
		}
		t.from, t.begins = next.from, next.begins
		moved = t
		return false
	})
	if moved == nil {
		return left
	}
	left = left.begin(*moved, after)
	left.forgotten = max(left.forgotten, h.forgotten)
	return left
}

// end returns the history in which the holder has the key no more.
func (h *history[T]) end(holder *T, left leave) *history[T] {
	return h.change(func(t *tenure[T]) bool {
		if t.holder == holder && t.open() {
			t.until, t.ends = left.until, left.ends
		}
		return true
	})
}

// forget returns the history without the tenures that ended at the time until or before, or nil when none is left.
func (h *history[T]) forget(until moment) *history[T] {
	forgotten := h.forgotten
	kept := h.change(func(t *tenure[T]) bool {
		if t.until > until {
			return true
		}
		forgotten = max(forgotten, t.until)
		return false
	})
	if kept != nil {
		kept.forgotten = forgotten
	}
	return kept
}

// holds returns whether the holder has the key now.
func (h *history[T]) holds(holder *T) bool {
	for t := range h.all {
		if t.holder == holder && t.open() {
			return true
		}
	}
	return false
}
