// SPDX-License-Identifier: Apache-2.0

package identity

import "time"

// Span is the time in which a workload or a service had its addresses, as far as it is known.
type Span struct {
	// It got them at From at the earliest, and at Sure at the latest. A zero From: it always had them. A zero Sure: at From.
	From, Sure time.Time
	// It gave them up after Last, and before Until. A zero Until: it has them. A zero Last: at Until.
	Last, Until time.Time
	// Reported: From is when it was reported, as nothing shows when it began. Its first connections may be older.
	Reported bool
	// Unwatched: between Last and Until other workloads may have had the addresses.
	Unwatched bool
}

// Since is the span of who has its addresses since then; zero: always had them.
func Since(from, now time.Time) Span { return Span{From: from, Reported: from.Equal(now)} }

// vagueness is how long an edge of a tenure may lie from where it is drawn, in ms, and marks in the top bits.
type vagueness uint32

const (
	marked  vagueness = 1 << 31
	sharing vagueness = 1 << 30 // of a beginning: the holder shares the key. A lookup need not look at the holder for it.
	longest           = sharing - 1
)

func vague(d time.Duration, mark bool) vagueness {
	var v vagueness
	if d > 0 {
		v = vagueness(min((d+time.Millisecond-1)/time.Millisecond, time.Duration(longest)))
	}
	if mark {
		v |= marked
	}
	return v
}

func (v vagueness) length() time.Duration { return time.Duration(v&longest) * time.Millisecond }
func (v vagueness) mark() bool            { return v&marked != 0 }

// tenure is the time [from, until) in which a holder had a key.
type tenure[T any] struct {
	holder      *T
	from, until moment
	begins      vagueness // after from; marked: from is when it was reported
	ends        vagueness // before until; marked: there was no watch
}

func tenureOf[T any](holder *T, s Span, now time.Time) tenure[T] {
	t := tenure[T]{holder: holder, from: momentSeen(s.From, now), until: never}
	if s.Sure.After(s.From) {
		t.begins = vague(s.Sure.Sub(s.From), false)
	}
	if s.Reported {
		t.begins |= marked
	}
	if w, ok := any(holder).(*Workload); ok && w.HostNetwork {
		t.begins |= sharing
	}
	if !s.Until.IsZero() {
		t.until = momentSeen(s.Until, now)
		t.ends = endOf(s)
	}
	return t
}

func endOf(s Span) vagueness {
	if s.Last.IsZero() {
		return 0
	}
	return vague(s.Until.Sub(s.Last), s.Unwatched)
}

// shares returns whether the holder shares the key with others.
func (t *tenure[T]) shares() bool { return t.begins&sharing != 0 }

func (t *tenure[T]) open() bool { return t.until == never }

func (t *tenure[T]) covers(at moment) bool { return t.from <= at && at < t.until }

// began is when the holder had the key for certain.
func (t *tenure[T]) began() moment { return t.from.add(t.begins.length()) }

// ended is until when the holder had the key for certain.
func (t *tenure[T]) ended() moment {
	if t.open() {
		return never
	}
	return t.until.add(-t.ends.length())
}
