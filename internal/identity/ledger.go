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
	ended     []ending[K]        // in the order in which they ended
}

type ending[K comparable] struct {
	key K
	at  time.Time
}

func newLedger[K comparable, T any](after func(a, b *T) bool) *ledger[K, T] {
	return &ledger[K, T]{histories: xsync.NewMap[K, *history[T]](), after: after}
}

func (l *ledger[K, T]) read(key K) *history[T] {
	h, _ := l.histories.Load(key)
	return h
}

// move makes the keys of holder those of successor. Either may be nil, with no keys.
func (l *ledger[K, T]) move(holder *T, keys []K, successor *T, successorKeys []K, since, now time.Time) {
	kept := make(map[K]struct{}, len(successorKeys))
	for _, key := range successorKeys {
		h := l.read(key)
		kept[key] = struct{}{}
		switch {
		case h.holds(successor): // the key was listed twice
		case holder != nil && h.holds(holder):
			l.histories.Store(key, h.replace(holder, successor))
		default:
			l.histories.Store(key, h.begin(successor, since, l.after))
		}
	}
	for _, key := range keys {
		h := l.read(key)
		if _, ok := kept[key]; ok || !h.holds(holder) {
			continue
		}
		l.histories.Store(key, h.end(holder, now))
		l.ended = append(l.ended, ending[K]{key, now})
	}
}

// expire forgets the tenures that ended at the time until or before.
func (l *ledger[K, T]) expire(until time.Time) {
	n := 0
	for ; n < len(l.ended) && !l.ended[n].at.After(until); n++ {
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
