// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"cmp"
	"slices"
)

// space is what is drawn as one when there are too many nodes: a namespace of a cluster. The zero space has the
// addresses and names outside.
type space struct{ cluster, namespace string }

func (k *Key) space() space { return space{k.Cluster, k.Namespace} }

// folds are the namespaces that are drawn as one node each, largest first, so that at most a limit of nodes is drawn.
type folds struct {
	folded map[space]*node
	rest   *node // stands for all folded namespaces, when there are too many of them, too
	useAll bool
}

// Fold says what is drawn as one node.
type Fold struct {
	ID        uint32 `json:"id"`
	Cluster   string `json:"cluster,omitempty"`
	Namespace string `json:"ns,omitempty"`
	Nodes     int    `json:"nodes"`
}

// choose decides which namespaces are folded, given the nodes that would be drawn. Those that are folded stay so until
// a fifth of the places would be left without them.
func (f *folds) choose(g *Graph, nodes map[*node]struct{}) {
	limit := g.settings.MaxNodes
	if len(nodes) <= limit && (len(f.folded) == 0 || len(nodes) <= limit*4/5) {
		f.folded, f.rest, f.useAll = nil, nil, false
		return
	}
	sizes := make(map[space]int)
	for n := range nodes {
		sizes[n.key.space()]++
	}
	for s := range f.folded {
		if sizes[s] == 0 {
			delete(f.folded, s)
		}
	}
	drawn := len(nodes)
	for s := range f.folded {
		drawn -= sizes[s] - 1
	}
	open := make([]space, 0, len(sizes))
	for s := range sizes {
		if f.folded[s] == nil {
			open = append(open, s)
		}
	}
	slices.SortFunc(open, func(a, b space) int {
		return cmp.Or(sizes[b]-sizes[a], cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.namespace, b.namespace))
	})
	for _, s := range open {
		if drawn <= limit {
			break
		}
		if f.folded == nil {
			f.folded = make(map[space]*node)
		}
		f.folded[s] = g.newNode(Key{Kind: KindNamespace, Cluster: s.cluster, Namespace: s.namespace})
		drawn -= sizes[s] - 1
	}
	f.useAll = drawn > limit
	if f.useAll && f.rest == nil {
		f.rest = g.newNode(Key{Kind: KindNamespace, Name: "all"})
	}
}

// drawn is the node that stands for n.
func (f *folds) drawn(n *node) *node {
	if len(f.folded) == 0 || n == nil {
		return n
	}
	of := f.folded[n.key.space()]
	switch {
	case of == nil:
		return n
	case f.useAll:
		return f.rest
	}
	return of
}

// newNode makes a node that no edge holds.
func (g *Graph) newNode(key Key) *node {
	g.lastID++
	return &node{key: key, id: g.lastID}
}
