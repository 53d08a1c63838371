// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// waiting is a record whose identities are not known yet.
type waiting struct {
	connection flow.Connection
	observed   time.Time
	deadline   time.Time
	next       int  // index of the end's next record; 0: none
	gone       bool // left before older ones did
}

// queue holds waiting records in the order of their arrival, which is the order of their deadlines.
type queue struct {
	limit   int
	records []waiting
	head    int // records before it are gone
	live    int
	ends    map[uint64]chain // by connection ID; aggregates (ID 0) belong to no end
}

// chain is the waiting records of one end, by their indices.
type chain struct{ first, last int }

func newQueue(limit int) queue {
	return queue{limit: limit, ends: make(map[uint64]chain)}
}

func (q *queue) len() int   { return q.live }
func (q *queue) full() bool { return q.live >= q.limit }

// holds returns whether a record of the end waits.
func (q *queue) holds(id uint64) bool {
	if id == 0 || len(q.ends) == 0 {
		return false
	}
	_, held := q.ends[id]
	return held
}

func (q *queue) push(c *flow.Connection, observed, deadline time.Time) {
	if q.live < len(q.records)/2 {
		q.compact()
	}
	q.records = append(q.records, waiting{connection: *c, observed: observed, deadline: deadline})
	q.live++
	q.link(len(q.records) - 1)
}

// link appends a record to the chain of its end.
func (q *queue) link(index int) {
	id := q.records[index].connection.ID
	if id == 0 {
		return
	}
	if of, held := q.ends[id]; held {
		q.records[of.last].next = index
		q.ends[id] = chain{of.first, index}
	} else {
		q.ends[id] = chain{index, index}
	}
}

// oldest returns the record that waits longest; it is valid until the next push.
func (q *queue) oldest() *waiting { return &q.records[q.head] }

// pop removes the oldest record, which is also the oldest of its end.
func (q *queue) pop() {
	w := q.oldest()
	if id := w.connection.ID; id != 0 {
		if w.next == 0 {
			delete(q.ends, id)
		} else {
			q.ends[id] = chain{w.next, q.ends[id].last}
		}
	}
	q.remove(w)
	q.advance()
}

// take removes all records of an end, oldest first, and passes each to do.
func (q *queue) take(id uint64, do func(*waiting)) {
	of, held := q.ends[id]
	if !held {
		return
	}
	for index := of.first; ; {
		w := &q.records[index]
		index = w.next
		do(w)
		q.remove(w)
		if index == 0 {
			break
		}
	}
	delete(q.ends, id)
	q.advance()
}

// retry offers the records of an end to done, oldest first, until it returns false, and removes the others.
func (q *queue) retry(id uint64, done func(*waiting) bool) {
	of, held := q.ends[id]
	for held {
		w := &q.records[of.first]
		if !done(w) {
			q.ends[id] = of
			break
		}
		if held = w.next != 0; held {
			of.first = w.next
		} else {
			delete(q.ends, id)
		}
		q.remove(w)
	}
	q.advance()
}

func (q *queue) remove(w *waiting) {
	*w = waiting{gone: true}
	q.live--
}

// advance moves the head to the oldest record that is left.
func (q *queue) advance() {
	for q.head < len(q.records) && q.records[q.head].gone {
		q.head++
	}
	if q.live == 0 {
		q.records, q.head = q.records[:0], 0
	}
}

// compact moves the records to the front of their memory.
func (q *queue) compact() {
	q.sweep(func(*waiting) bool { return false })
}

// sweep offers every record to done, oldest first, and removes those for which it returns true.
func (q *queue) sweep(done func(*waiting) bool) {
	kept := 0
	for i := q.head; i < len(q.records); i++ {
		w := &q.records[i]
		if w.gone || done(w) {
			continue
		}
		if kept != i {
			q.records[kept] = *w
		}
		kept++
	}
	if kept == len(q.records) {
		return // all as before
	}
	clear(q.records[kept:])
	q.records, q.head, q.live = q.records[:kept], 0, kept
	clear(q.ends)
	for i := range q.records {
		q.records[i].next = 0
	}
	for i := range q.records {
		q.link(i)
	}
}
