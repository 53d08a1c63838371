// SPDX-License-Identifier: Apache-2.0

package graph

import "time"

// edgeKey names an edge. A series of the service set has its service; one whose destination's workload is unknown
// has no destination then.
type edgeKey struct {
	from        Key
	service     Key
	destination Key
}

// edge is the connections from one workload to one service at one workload, as both reporters count them.
type edge struct {
	key                        edgeKey
	from, service, destination *node // service or destination may be nil
	series                     []*series

	// An edge without traffic for a window has no history and is not drawn.
	history *history
	isLive  bool
	touched int64 // when it last carried something, in ns since the epoch

	// pair is the edge of the workload set between the same workloads, which has the retransmits.
	pair  *edge
	pairs int // how many edges use this one as theirs

	records []uint64 // numbers of its last access log records, the newest last
	reasons reasons
}

func (g *Graph) edge(key edgeKey) *edge {
	e := g.edges[key]
	if e != nil {
		return e
	}
	e = &edge{key: key, from: g.hold(key.from), service: g.hold(key.service), destination: g.hold(key.destination)}
	g.edges[key] = e
	if key.service != (Key{}) && key.destination != (Key{}) {
		e.pair = g.edge(edgeKey{from: key.from, destination: key.destination})
		e.pair.pairs++
	}
	return e
}

func (g *Graph) hold(key Key) *node {
	if key == (Key{}) {
		return nil
	}
	n := g.node(key)
	n.edges++
	return n
}

// drop forgets an edge that no series and no other edge uses.
func (g *Graph) drop(e *edge) {
	if len(e.series) > 0 || e.pairs > 0 {
		return
	}
	g.rest(e)
	delete(g.edges, e.key)
	g.release(e.from)
	g.release(e.service)
	g.release(e.destination)
	if e.pair != nil {
		e.pair.pairs--
		g.drop(e.pair)
	}
}

// touch says that an edge carried something.
func (g *Graph) touch(e *edge, now int64) {
	e.touched = max(e.touched, now)
	if e.isLive {
		return
	}
	e.isLive = true
	g.live++
	if g.histories < g.settings.MaxNodes*edgesPerNode {
		g.histories++
		e.history = &history{}
	}
}

// rest ends the life of an edge that carried nothing for long.
func (g *Graph) rest(e *edge) {
	if !e.isLive {
		return
	}
	e.isLive = false
	g.live--
	if e.history != nil {
		g.histories--
		e.history = nil
	}
	e.records, e.reasons = nil, reasons{}
}

// reasons count why connects failed, over the last one to two halves of a window.
type reasons struct {
	current, previous map[string]int
	since             int64
}

const maxReasons = 16 // errno names are few; a sender that makes them up is not followed

func (r *reasons) add(reason string, now int64, half time.Duration) {
	r.turn(now, half)
	if r.current == nil {
		r.current = make(map[string]int)
	}
	if _, known := r.current[reason]; known || len(r.current) < maxReasons {
		r.current[reason]++
	}
}

func (r *reasons) turn(now int64, half time.Duration) {
	for range 2 {
		if now-r.since < int64(half) {
			return
		}
		r.previous, r.current = r.current, nil
		r.since = max(r.since+int64(half), now-int64(half))
	}
}

// read adds the counts to a total.
func (r *reasons) read(to map[string]int) {
	for _, generation := range []map[string]int{r.previous, r.current} {
		for reason, n := range generation {
			to[reason] += n
		}
	}
}
