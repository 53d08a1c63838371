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
}

// queue holds waiting records in the order of their arrival, which is the order of their deadlines.
type queue struct {
	limit   int
	records []waiting
	head    int            // records before it were popped
	ends    map[uint64]int // connection ID → how many of its records wait
}

func newQueue(limit int) queue {
	return queue{limit: limit, ends: make(map[uint64]int)}
}

func (q *queue) len() int   { return len(q.records) - q.head }
func (q *queue) full() bool { return q.len() >= q.limit }

// holds returns whether a record of the end waits; aggregates (ID 0) belong to no end.
func (q *queue) holds(id uint64) bool {
	return id != 0 && len(q.ends) > 0 && q.ends[id] > 0
}

func (q *queue) push(c *flow.Connection, observed, deadline time.Time) {
	if q.head > len(q.records)/2 {
		q.compact()
	}
	q.records = append(q.records, waiting{connection: *c, observed: observed, deadline: deadline})
	if c.ID != 0 {
		q.ends[c.ID]++
	}
}

// oldest returns the record that waits longest; it is valid until the next push.
func (q *queue) oldest() *waiting { return &q.records[q.head] }

// pop removes the oldest record.
func (q *queue) pop() {
	w := q.oldest()
	q.leave(w.connection.ID)
	*w = waiting{}
	q.head++
	if q.head == len(q.records) {
		q.records, q.head = q.records[:0], 0
	}
}

func (q *queue) leave(id uint64) {
	if id == 0 {
		return
	}
	if q.ends[id]--; q.ends[id] == 0 {
		delete(q.ends, id)
	}
}

// compact moves the records to the front of their memory.
func (q *queue) compact() {
	n := copy(q.records, q.records[q.head:])
	clear(q.records[n:])
	q.records, q.head = q.records[:n], 0
}

// sweep offers every record to done, oldest first, and removes those for which it returns true.
func (q *queue) sweep(done func(*waiting) bool) {
	kept := 0
	for i := q.head; i < len(q.records); i++ {
		w := &q.records[i]
		if done(w) {
			q.leave(w.connection.ID)
			continue
		}
		if kept != i {
			q.records[kept] = *w
		}
		kept++
	}
	clear(q.records[kept:])
	q.records, q.head = q.records[:kept], 0
}
