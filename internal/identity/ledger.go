// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"time"

	"github.com/puzpuzpuz/xsync/v4"
)

// ledger keeps the history of each key. Reading takes no lock; writers take turns by their own means.
type ledger[K comparable, T any] struct {
	histories *xsync.Map[K, *history[T]]
	after     func(a, b *T) bool // the order of tenures that begin together
	ended     []ending[K]        // in the order in which they were reported
}

type ending[K comparable] struct {
	key K
	at  moment
}

func newLedger[K comparable, T any](after func(a, b *T) bool) *ledger[K, T] {
	return &ledger[K, T]{histories: xsync.NewMap[K, *history[T]](), after: after}
}

func (l *ledger[K, T]) read(key K) *history[T] {
	h, _ := l.histories.Load(key)
	return h
}

// leave is how a holder gives up keys.
type leave struct {
	until moment
	ends  vagueness
}

func leaveAt(s Span, now time.Time) leave { return leave{momentSeen(s.Until, now), endOf(s)} }

// move makes the keys of holder those of next. holder may be nil, with no keys; next may have no holder, and no keys.
func (l *ledger[K, T]) move(holder *T, keys []K, next tenure[T], nextKeys []K, left leave, now moment) {
	for _, key := range nextKeys {
		h := l.read(key)
		switch {
		case h.holds(next.holder): // the key was listed twice
		case holder != nil && h.holds(holder):
			l.histories.Store(key, h.replace(holder, next, l.after))
		default:
			l.histories.Store(key, h.begin(next, l.after))
		}
		if !next.open() {
			l.ended = append(l.ended, ending[K]{key, now})
		}
	}
	for _, key := range keys {
		h := l.read(key)
		if !h.holds(holder) { // its successor has it
			continue
		}
		l.histories.Store(key, h.end(holder, left))
		l.ended = append(l.ended, ending[K]{key, now})
	}
}

// expire forgets the tenures that ended at the time until or before.
func (l *ledger[K, T]) expire(until moment) {
	n := 0
	for ; n < len(l.ended) && l.ended[n].at <= until; n++ {
		key := l.ended[n].key
		h := l.read(key)
		if h == nil {
			continue
		}
		if h = h.forget(until); h == nil {
			l.histories.Delete(key)
		} else {
			l.histories.Store(key, h)
		}
	}
	if n > 0 {
		l.ended = append([]ending[K](nil), l.ended[n:]...)
	}
}
