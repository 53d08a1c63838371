// SPDX-License-Identifier: Apache-2.0

package identity

import "unique"

// NodeName is the name of a Kubernetes node, interned: every workload of the node has it. Zero: unknown.
type NodeName struct{ name unique.Handle[string] }

// NewNodeName returns the interned form of a name; empty: unknown.
func NewNodeName(name string) NodeName {
	if name == "" {
		return NodeName{}
	}
	return NodeName{unique.Make(name)}
}

// String returns the name; empty: unknown.
func (n NodeName) String() string {
	if n == (NodeName{}) {
		return ""
	}
	return n.name.Value()
}
