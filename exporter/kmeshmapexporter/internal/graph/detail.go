// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"slices"
	"time"
)

// Detail is what a node or a link did over the window.
type Detail struct {
	Start   int64          `json:"start"` // of the first step, in seconds since the epoch
	Step    float64        `json:"step"`  // in seconds
	Series  Charts         `json:"series"`
	Reasons map[string]int `json:"reasons"` // of failed connects
	Records []Record       `json:"records"` // the newest first
}

// Charts have a value per step: per second, or a mean in seconds. A mean of nothing is null.
type Charts struct {
	Sent          []float64  `json:"sent"`
	Received      []float64  `json:"received"`
	Opened        []float64  `json:"opened"`
	Failed        []float64  `json:"failed"`
	Retransmitted []float64  `json:"retrans"`
	Connect       []*float64 `json:"connect"`
	RTT           []*float64 `json:"rtt"`
}

// side is how an edge is part of what is detailed.
type side uint8

const (
	none    side = iota
	out          // its client
	in           // its server
	between      // it is a link, seen from its client
)

// Link details a link; nil if there is none.
func (g *Graph) Link(id LinkID) *Detail {
	return g.detail(func(e *edge) (s side) {
		g.links(e, func(kind LinkKind, from, to *node) {
			if (LinkID{from.id, to.id, kind}) == id {
				s = between
			}
		})
		return s
	})
}

// Node details a node; nil if there is none.
func (g *Graph) Node(id uint32) *Detail {
	return g.detail(func(e *edge) side {
		is := func(n *node) bool {
			n = g.folds.drawn(n)
			return n != nil && n.id == id
		}
		switch {
		case is(e.from):
			return out
		case is(e.service), is(e.destination):
			return in
		}
		return none
	})
}

func (g *Graph) detail(sideOf func(*edge) side) *Detail {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.settings.Now()
	c := newCharting(g.settings.step(), g.lastComplete(now))
	d := &Detail{Start: (c.first * int64(c.step)) / int64(time.Second), Step: c.step.Seconds(), Reasons: map[string]int{}, Records: []Record{}}
	var numbers []uint64
	found := false
	for _, e := range g.drawnEdges(now.UnixNano()) {
		s := sideOf(e)
		if s == none {
			continue
		}
		found = true
		c.add(e, s, g.group(e))
		e.reasons.read(d.Reasons)
		numbers = append(numbers, e.records...)
	}
	if !found {
		return nil
	}
	d.Series = c.charts()
	slices.Sort(numbers)
	for _, number := range slices.Backward(numbers) {
		if r := g.log.get(number); r != nil && len(d.Records) < recordsPerEdge {
			d.Records = append(d.Records, *r)
		}
	}
	return d
}

// group is the first link of an edge.
func (g *Graph) group(e *edge) (id LinkID) {
	g.links(e, func(kind LinkKind, from, to *node) {
		if id == (LinkID{}) {
			id = LinkID{from.id, to.id, kind}
		}
	})
	return id
}

// lastComplete is the number of the first step that senders may still add to.
func (g *Graph) lastComplete(now time.Time) int64 {
	slowest := int64(0)
	for _, r := range g.resources {
		if now.UnixNano()-r.arrived < int64(lateBy) {
			slowest = max(slowest, min(r.gap(), int64(30*time.Second)))
		}
	}
	return (now.UnixNano() - slowest) / int64(g.settings.step())
}

// charting adds up histories. Edges of one link are a group, of which one reporter's counts are shown.
type charting struct {
	step   time.Duration
	first  int64 // number of the first step
	shared [slotCount]slot
	groups map[LinkID]*chartGroup
}

type chartGroup struct {
	side   side
	window [reporters]float64
	slots  [slotCount]slot
}

func newCharting(step time.Duration, end int64) *charting {
	return &charting{step: step, first: end - slotCount, groups: make(map[LinkID]*chartGroup)}
}

func (c *charting) add(e *edge, s side, group LinkID) {
	if p := e.pair; p != nil && p.pairs == 1 && p.history != nil {
		c.merge(&c.shared, p.history, resentSegments, lostSegments)
	}
	h := e.history
	if h == nil {
		return
	}
	of := c.groups[group]
	if of == nil {
		of = &chartGroup{side: s}
		c.groups[group] = of
	}
	for r := range reporter(reporters) {
		of.window[r] += h.counted(r)
	}
	c.merge(&of.slots, h, 0, failedConnects-1)
	c.merge(&c.shared, h, failedConnects, fields-1)
}

// merge adds the fields from one to another, both included.
func (c *charting) merge(into *[slotCount]slot, h *history, from, to field) {
	for i := range slotCount {
		if one := h.read(c.first + int64(i)); one != nil {
			for f := from; f <= to; f++ {
				into[i][f] += one[f]
			}
		}
	}
}

func (c *charting) charts() Charts {
	var total [slotCount]struct{ sent, received, opened float64 }
	for _, of := range c.groups {
		r := choose(of.window)
		// What the server's end sends, the client's end receives.
		isSwapped := (r == byDestination) != (of.side == in)
		for i := range slotCount {
			a, b := float64(of.slots[i][sentBytes.of(r)]), float64(of.slots[i][receivedBytes.of(r)])
			if isSwapped {
				a, b = b, a
			}
			total[i].sent += a
			total[i].received += b
			total[i].opened += float64(of.slots[i][openedConnections.of(r)])
		}
	}
	seconds := c.step.Seconds()
	var out Charts
	for i := range slotCount {
		s := &c.shared[i]
		out.Sent = append(out.Sent, round(total[i].sent/seconds))
		out.Received = append(out.Received, round(total[i].received/seconds))
		out.Opened = append(out.Opened, round(total[i].opened/seconds))
		out.Failed = append(out.Failed, round(float64(s[failedConnects])/seconds))
		out.Retransmitted = append(out.Retransmitted, round(float64(s[resentSegments])/seconds))
		out.Connect = append(out.Connect, mean(s[connectSeconds], s[connects]))
		out.RTT = append(out.RTT, mean(s[roundTripSeconds], s[roundTrips]))
	}
	return out
}

func mean(sum, count float32) *float64 {
	if count < 0.5 {
		return nil
	}
	v := round(float64(sum / count))
	return &v
}
