// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// LinkKind is between what a link is.
type LinkKind string

// The kinds of links. Calls and backends show services as nodes, pairs leave them out, and direct ones are in both views.
const (
	LinkDirect  LinkKind = "direct"  // from a workload to a workload or an address, by no service
	LinkCall    LinkKind = "call"    // from a workload to a service
	LinkBackend LinkKind = "backend" // from a service to a workload
	LinkPair    LinkKind = "pair"    // from a workload to a workload, by services
)

// Node is a drawn node.
type Node struct {
	ID        uint32 `json:"id"`
	Kind      Kind   `json:"kind"`
	Cluster   string `json:"cluster,omitempty"`
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"name,omitempty"`
	Host      string `json:"host,omitempty"` // of a service
}

// LinkID names a link.
type LinkID struct {
	From uint32   `json:"from"`
	To   uint32   `json:"to"`
	Kind LinkKind `json:"kind"`
}

// Link is a drawn edge: what one side sends to the other, as one of the two reporters counts it.
type Link struct {
	LinkID
	Sent     float64 `json:"sent"`     // bytes per second from the side that connected
	Received float64 `json:"received"` // bytes per second to it
	Opened   float64 `json:"opened"`   // connections per second
	Failed   float64 `json:"failed"`   // failed connects per second
	// Share is that of the failed among all connects of the last minute, 0 to 1.
	Share         float64 `json:"share"`
	Retransmitted float64 `json:"retrans"` // segments per second
	Active        int64   `json:"active"`  // connections open now; with the latency set only
	Idle          bool    `json:"idle"`
	Reporter      string  `json:"reporter"` // source or destination: the one whose counts these are
	Reason        string  `json:"reason,omitempty"`
}

// Drawn is the graph at a moment. Its nodes and links are in a stable order.
type Drawn struct {
	At      time.Time
	Nodes   []Node
	Links   []Link
	Folds   []Fold
	Refused uint64 // points that were left out
	Senders int
}

// reporterSum is what one reporter counted for a link.
type reporterSum struct {
	sent, received, opened float64 // per second
	active                 int64
	recentlyOpened         float64
	window                 float64 // all that it counted in the window, to compare reporters
}

// linkSum adds up edges.
type linkSum struct {
	by             [reporters]reporterSum
	failed         float64
	recentlyFailed float64
	retransmitted  float64
	touched        int64
	reasons        map[string]int
	from, to       *node
	hidden         bool
}

const recently = time.Minute

// isDrawn says whether an edge has counts of its own, and not only retransmits that belong to others.
func (e *edge) isDrawn(now int64) bool {
	if !e.isLive {
		return false
	}
	for _, s := range e.series {
		if s.metric.measure <= failed && !s.isSecond(now) || s.metric.measure == active {
			return true
		}
	}
	return false
}

// links calls f for each link that an edge is part of.
func (g *Graph) links(e *edge, f func(kind LinkKind, from, to *node)) {
	from, service, to := g.folds.drawn(e.from), g.folds.drawn(e.service), g.folds.drawn(e.destination)
	if service == nil {
		if to != nil {
			f(LinkDirect, from, to)
		}
		return
	}
	f(LinkCall, from, service)
	if to != nil {
		if service != to {
			f(LinkBackend, service, to)
		}
		f(LinkPair, from, to)
	} else {
		f(LinkPair, from, service)
	}
}

// Draw gives the graph as it is now.
func (g *Graph) Draw() *Drawn {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.settings.Now()
	edges := g.drawnEdges(now.UnixNano())
	nodes := make(map[*node]struct{})
	for _, e := range edges {
		for _, n := range []*node{e.from, e.service, e.destination} {
			if n != nil {
				nodes[n] = struct{}{}
			}
		}
	}
	g.folds.choose(g, nodes)

	sums := make(map[LinkID]*linkSum)
	for _, e := range edges {
		e.reasons.turn(now.UnixNano(), g.settings.Window/2)
		g.links(e, func(kind LinkKind, from, to *node) {
			id := LinkID{from.id, to.id, kind}
			sum := sums[id]
			if sum == nil {
				sum = &linkSum{from: from, to: to}
				sums[id] = sum
			}
			sum.add(e, now.UnixNano(), g.settings.step())
		})
	}
	hidePairsWithoutBackend(sums)
	return g.assemble(now, nodes, sums)
}

func (g *Graph) drawnEdges(now int64) []*edge {
	edges := make([]*edge, 0, g.live)
	for _, e := range g.edges {
		if e.isDrawn(now) {
			edges = append(edges, e)
		}
	}
	return edges
}

// hidePairsWithoutBackend leaves out, of the view without services, a service that a client reports without its backend,
// when the backends report the client. Both are one connection.
func hidePairsWithoutBackend(sums map[LinkID]*linkSum) {
	backends := make(map[uint32][]uint32) // of a service, those that report
	for id, sum := range sums {
		if id.Kind == LinkBackend && sum.by[byDestination].window > 0 {
			backends[id.From] = append(backends[id.From], id.To)
		}
	}
	for id, sum := range sums {
		if id.Kind != LinkPair || sum.to.key.Kind != KindService || sum.recentlyFailed > 0 {
			continue
		}
		sum.hidden = slices.ContainsFunc(backends[id.To], func(backend uint32) bool {
			pair := sums[LinkID{id.From, backend, LinkPair}]
			return pair != nil && pair.by[byDestination].window > 0
		})
	}
}

func (s *linkSum) add(e *edge, now int64, step time.Duration) {
	for _, one := range e.series {
		if one.isSecond(now) {
			continue
		}
		by := &s.by[one.reporter]
		switch one.metric.measure {
		case sent:
			by.sent += one.rate(now)
		case received:
			by.received += one.rate(now)
		case opened:
			by.opened += one.rate(now)
		case failed:
			s.failed += one.rate(now)
		case retransmitted:
			s.retransmitted += one.rate(now)
		case active:
			by.active += one.value
		}
	}
	s.touched = max(s.touched, e.touched)
	if h := e.history; h != nil {
		since := (now - int64(recently)) / int64(step)
		s.recentlyFailed += h.sum(failedConnects, since)
		for r := range reporter(reporters) {
			by := &s.by[r]
			by.recentlyOpened += h.sum(openedConnections.of(r), since)
			by.window += h.counted(r)
		}
	}
	if p := e.pair; p != nil && p.pairs == 1 {
		for _, one := range p.series {
			if one.metric.measure == retransmitted {
				s.retransmitted += one.rate(now)
			}
		}
	}
	if s.recentlyFailed > 0 {
		if s.reasons == nil {
			s.reasons = make(map[string]int)
		}
		e.reasons.read(s.reasons)
	}
}

// choose gives the reporter whose counts are shown: the source's, unless the destination's end saw more, as it does where
// some clients have no agent.
func choose(window [reporters]float64) reporter {
	if window[byDestination] > window[bySource]*1.05 {
		return byDestination
	}
	return bySource
}

// counted is all that a reporter counted in the window, in no unit: it compares reporters.
func (h *history) counted(r reporter) float64 {
	return h.sum(sentBytes.of(r), 0) + h.sum(receivedBytes.of(r), 0) + h.sum(openedConnections.of(r), 0)
}

func (s *linkSum) link(id LinkID, now int64) Link {
	r := choose([reporters]float64{s.by[bySource].window, s.by[byDestination].window})
	by := &s.by[r]
	l := Link{
		LinkID: id, Reporter: "source",
		Sent: round(by.sent), Received: round(by.received), Opened: round(by.opened),
		Failed: round(s.failed), Retransmitted: round(s.retransmitted), Active: by.active,
		Reason: mostFrequent(s.reasons),
	}
	if r == byDestination {
		l.Reporter = "destination"
		l.Sent, l.Received = l.Received, l.Sent
	}
	if s.recentlyFailed > 0 {
		l.Share = round(s.recentlyFailed / (s.recentlyFailed + by.recentlyOpened))
	}
	l.Idle = l.Sent+l.Received+l.Opened+l.Failed == 0 && now-s.touched > int64(idleAfter)
	return l
}

func (g *Graph) assemble(now time.Time, nodes map[*node]struct{}, sums map[LinkID]*linkSum) *Drawn {
	d := &Drawn{At: now, Refused: g.counts.Refused, Senders: len(g.resources), Links: make([]Link, 0, len(sums))}
	stands := make(map[*node]int) // for how many nodes
	for n := range nodes {
		stands[g.folds.drawn(n)]++
	}
	for id, sum := range sums {
		if !sum.hidden {
			d.Links = append(d.Links, sum.link(id, now.UnixNano()))
		}
	}
	for n, count := range stands {
		d.Nodes = append(d.Nodes, Node{n.id, n.key.Kind, n.key.Cluster, n.key.Namespace, n.key.Name, n.host.name})
		if n.key.Kind == KindNamespace {
			d.Folds = append(d.Folds, Fold{n.id, n.key.Cluster, n.key.Namespace, count})
		}
	}
	slices.SortFunc(d.Nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(d.Folds, func(a, b Fold) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(d.Links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
	})
	return d
}

// mostFrequent gives the first of the most frequent reasons.
func mostFrequent(reasons map[string]int) (most string) {
	for reason, n := range reasons {
		if n > reasons[most] || n == reasons[most] && (most == "" || reason < most) {
			most = reason
		}
	}
	return most
}

// round keeps three digits: less is not seen, and a value that is the same is not sent again.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}
