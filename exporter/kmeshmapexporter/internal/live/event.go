// SPDX-License-Identifier: Apache-2.0

package live

import (
	"encoding/json"
	"fmt"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/graph"
)

// Event is a snapshot, or what changed since the event before.
type Event struct {
	At        int64          `json:"at"` // ms since the epoch
	Nodes     []graph.Node   `json:"nodes,omitempty"`
	Links     []graph.Link   `json:"links,omitempty"`
	GoneNodes []uint32       `json:"goneNodes,omitempty"`
	GoneLinks []graph.LinkID `json:"goneLinks,omitempty"`
	Folds     []graph.Fold   `json:"folds"`
	Refused   uint64         `json:"refused"`
	Senders   int            `json:"senders"`
	Window    int            `json:"window"` // in seconds
}

func header(d *graph.Drawn, window int) Event {
	folds := d.Folds
	if folds == nil {
		folds = []graph.Fold{}
	}
	return Event{At: d.At.UnixMilli(), Folds: folds, Refused: d.Refused, Senders: d.Senders, Window: window}
}

// snapshot is the whole graph.
func snapshot(d *graph.Drawn, window int) Event {
	e := header(d, window)
	e.Nodes, e.Links = d.Nodes, d.Links
	return e
}

// difference is what changed from one moment to the next. Nodes and links are ordered.
func difference(before, after *graph.Drawn, window int) Event {
	e := header(after, window)
	nodes := make(map[uint32]graph.Node, len(before.Nodes))
	for _, n := range before.Nodes {
		nodes[n.ID] = n
	}
	for _, n := range after.Nodes {
		if was, ok := nodes[n.ID]; !ok || was != n {
			e.Nodes = append(e.Nodes, n)
		}
		delete(nodes, n.ID)
	}
	for _, n := range before.Nodes {
		if _, gone := nodes[n.ID]; gone {
			e.GoneNodes = append(e.GoneNodes, n.ID)
		}
	}
	links := make(map[graph.LinkID]graph.Link, len(before.Links))
	for _, l := range before.Links {
		links[l.LinkID] = l
	}
	for _, l := range after.Links {
		if was, ok := links[l.LinkID]; !ok || was != l {
			e.Links = append(e.Links, l)
		}
		delete(links, l.LinkID)
	}
	for _, l := range before.Links {
		if _, gone := links[l.LinkID]; gone {
			e.GoneLinks = append(e.GoneLinks, l.LinkID)
		}
	}
	return e
}

// encode writes a server-sent event. JSON has no line break, so it is one line.
func encode(name string, e *Event) []byte {
	data, err := json.Marshal(e)
	if err != nil { // numbers and texts only
		panic(fmt.Sprintf("encode an event: %v", err))
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, data)
}
