// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"sync"
	"time"
)

// Graph is safe for use by many goroutines.
type Graph struct {
	settings Settings

	mu         sync.Mutex
	hasher     hasher
	resources  map[seriesKey]*resource
	series     map[seriesKey]*series
	histograms map[seriesKey]*histogramSeries
	nodes      map[Key]*node
	hosts      map[host]*node
	edges      map[edgeKey]*edge
	lastID     uint32
	live       int // edges that are drawn
	histories  int // of them, those that have one
	log        log
	waiting    []waiting
	folds      folds
	counts     Counts
}

// Counts are what a Graph was given, and what it left out.
type Counts struct {
	Points    uint64 // of the metrics that it uses
	Other     uint64 // metrics and points that it does not use
	Refused   uint64 // points of series over the bound
	Records   uint64 // of the access log
	Unmatched uint64 // records whose edge no metric had
	Series    int    // held
	Nodes     int    // held
	Edges     int    // drawn
}

// New makes an empty Graph.
func New(settings Settings) *Graph {
	if settings.Now == nil {
		settings.Now = time.Now
	}
	return &Graph{
		settings:   settings,
		hasher:     newHasher(),
		resources:  make(map[seriesKey]*resource),
		series:     make(map[seriesKey]*series),
		histograms: make(map[seriesKey]*histogramSeries),
		nodes:      make(map[Key]*node),
		hosts:      make(map[host]*node),
		edges:      make(map[edgeKey]*edge),
		log:        log{limit: uint64(max(settings.MaxNodes, 1) * recordsPerNode)},
	}
}

// Counts gives what was taken so far, and what is held.
func (g *Graph) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	counts := g.counts
	counts.Series, counts.Nodes, counts.Edges = len(g.series)+len(g.histograms), len(g.nodes), g.live
	return counts
}

// Expire forgets what the window has passed. Call it several times in a window.
func (g *Graph) Expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.settings.Now().UnixNano()
	before := now - int64(g.settings.Window)
	for _, e := range g.edges {
		if e.isLive && e.touched < before {
			g.rest(e)
		}
	}
	for key, s := range g.series {
		if s.arrived < before {
			g.end(key, s)
		}
	}
	for key, s := range g.histograms {
		if s.arrived < before {
			delete(g.histograms, key)
		}
	}
	for key, r := range g.resources {
		if r.arrived < before {
			delete(g.resources, key)
		}
	}
	for _, e := range g.edges {
		if !e.isLive {
			g.drop(e)
		}
	}
	g.retry(now)
}
