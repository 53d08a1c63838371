// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"strings"
	"unicode/utf8"
)

// Kind is what a node stands for.
type Kind string

// The kinds of nodes.
const (
	KindWorkload  Kind = "workload"
	KindService   Kind = "service"
	KindAddress   Kind = "address"   // of which nobody knows whose it is
	KindUnknown   Kind = "unknown"   // an end without a name and an address
	KindNamespace Kind = "namespace" // all workloads and services of a namespace
)

const unknown = "-" // what the receiver's labels say for unknown

// Key names a node.
type Key struct {
	Kind      Kind
	Cluster   string
	Namespace string
	Name      string
}

// node is an end of edges.
type node struct {
	key   Key
	id    uint32 // in this process
	edges int    // how many edges hold it
	host  host   // of a service
}

// host is a service's host name in a cluster.
type host struct{ cluster, name string }

func (g *Graph) node(key Key) *node {
	n := g.nodes[key]
	if n == nil {
		g.lastID++
		n = &node{key: key, id: g.lastID}
		g.nodes[key] = n
	}
	return n
}

func (g *Graph) release(n *node) {
	if n == nil {
		return
	}
	if n.edges--; n.edges == 0 {
		delete(g.nodes, n.key)
		if g.hosts[n.host] == n {
			delete(g.hosts, n.host)
		}
	}
}

// labels are those of a series that name its ends. Empty is unknown: a user can leave any label out.
type labels struct {
	reporter reporter

	sourceCluster, sourceNamespace, sourceWorkload                string
	destinationCluster, destinationNamespace, destinationWorkload string

	host, service, serviceNamespace string // of the service set
	address                         string // of the workload set
	flags                           string
}

// source gives the key of the side that connected.
func (l *labels) source() Key {
	return workload(l.sourceCluster, l.sourceNamespace, l.sourceWorkload)
}

// destination gives the key of the side that was connected to: its workload, else its address. A destination of
// which only the service is known has none.
func (l *labels) destination() (key Key, known bool) {
	if w := workload(l.destinationCluster, l.destinationNamespace, l.destinationWorkload); w.Kind == KindWorkload {
		return w, true
	}
	if l.service != "" {
		return Key{}, false
	}
	switch {
	case l.host != "":
		return Key{Kind: KindAddress, Name: l.host}, true
	case l.address != "":
		return Key{Kind: KindAddress, Name: l.address}, true
	}
	return Key{Kind: KindUnknown}, true
}

func workload(cluster, namespace, name string) Key {
	if name == "" && namespace == "" {
		return Key{Kind: KindUnknown}
	}
	return Key{Kind: KindWorkload, Cluster: cluster, Namespace: namespace, Name: name}
}

// name gives a text of its own: valid UTF-8, at most maxName bytes, and empty for unknown.
func name(text string) string {
	if text == unknown {
		return ""
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxName)], "\uFFFD")
	end := min(len(text), maxName)
	for end > 0 && end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end])
}
