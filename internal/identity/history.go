// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"slices"
	"time"
)

// tenure is the time [from, until) in which a holder had a key. A zero from is "always had it", a zero until "has it".
type tenure[T any] struct {
	holder      *T
	from, until time.Time
}

func (t *tenure[T]) open() bool { return t.until.IsZero() }

func (t *tenure[T]) covers(at time.Time) bool {
	return !t.from.After(at) && (t.open() || t.until.After(at))
}

// history is who had one key, by the beginning of the tenures. It is never changed, only replaced.
type history[T any] struct {
	tenures []tenure[T]
	// forgotten is where the last tenure ended that is not kept any more.
	forgotten time.Time
}

// moment returns the time for which to look at the tenures when a connection began at the time at; ok is false when no
// tenure can be meant, and settled when that will not change.
//
// Nobody's tenure may cover it. It then belongs to the next tenure if that began within lag: a new holder is
// always reported after its first connections may have begun. Never to the one before: an end, too, is reported
// only when it is past, so its holder was already gone.
func (h *history[T]) moment(at time.Time, lag time.Duration) (t time.Time, ok, settled bool) {
	next := -1
	for i := range h.tenures {
		if h.tenures[i].covers(at) {
			return at, true, true
		}
		if next < 0 && h.tenures[i].from.After(at) {
			next = i
		}
	}
	if at.Before(h.forgotten) {
		return at, false, true // it was someone who is not known any more
	}
	if next >= 0 && h.tenures[next].from.Sub(at) <= lag {
		return h.tenures[next].from, true, true
	}
	return at, false, false
}

// begin returns the history with one tenure more. Of tenures that began together the newer one comes last.
func (h *history[T]) begin(holder *T, since time.Time, after func(a, b *T) bool) *history[T] {
	added := tenure[T]{holder: holder, from: since}
	if h == nil {
		return &history[T]{tenures: []tenure[T]{added}}
	}
	at := len(h.tenures)
	for at > 0 {
		before := &h.tenures[at-1]
		if before.from.Before(since) || before.from.Equal(since) && after(holder, before.holder) {
			break
		}
		at--
	}
	return &history[T]{tenures: slices.Insert(slices.Clone(h.tenures), at, added), forgotten: h.forgotten}
}

// replace returns the history in which the holder's tenures that are not over have its successor.
func (h *history[T]) replace(holder, successor *T) *history[T] {
	tenures := slices.Clone(h.tenures)
	for i := range tenures {
		if tenures[i].holder == holder && tenures[i].open() {
			tenures[i].holder = successor
		}
	}
	return &history[T]{tenures: tenures, forgotten: h.forgotten}
}

// end returns the history in which the holder has the key no more.
func (h *history[T]) end(holder *T, now time.Time) *history[T] {
	tenures := slices.Clone(h.tenures)
	for i := range tenures {
		if tenures[i].holder == holder && tenures[i].open() {
			tenures[i].until = now
		}
	}
	return &history[T]{tenures: tenures, forgotten: h.forgotten}
}

// forget returns the history without the tenures that ended at the time until or before, or nil when none is left.
func (h *history[T]) forget(until time.Time) *history[T] {
	kept := history[T]{forgotten: h.forgotten}
	for _, t := range h.tenures {
		switch {
		case t.open() || t.until.After(until):
			kept.tenures = append(kept.tenures, t)
		case t.until.After(kept.forgotten):
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
