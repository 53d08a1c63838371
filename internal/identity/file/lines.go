// SPDX-License-Identifier: Apache-2.0

package file

import "go.yaml.in/yaml/v3"

// emptyItem returns the line of the first list item without a value, or 0. Decoding would leave it out without an error, and
// the lines of the entries behind it would be wrong.
func emptyItem(node *yaml.Node) int {
	for _, child := range node.Content {
		if node.Kind == yaml.SequenceNode && (child.ShortTag() == "!!null" || child.Alias != nil && child.Alias.ShortTag() == "!!null") {
			return child.Line
		}
		if line := emptyItem(child); line > 0 {
			return line
		}
	}
	return 0
}

// lines returns where the entries begin; 0: unknown.
type lines struct{ workloads, services []int }

func (l lines) workload(i int) int { return lineAt(l.workloads, i) }
func (l lines) service(i int) int  { return lineAt(l.services, i) }

func lineAt(all []int, i int) int {
	if i < len(all) {
		return all[i]
	}
	return 0
}

func linesOf(tree *yaml.Node) (l lines) {
	if len(tree.Content) == 0 || tree.Content[0].Kind != yaml.MappingNode {
		return l
	}
	pairs := tree.Content[0].Content
	for i := 0; i+1 < len(pairs); i += 2 {
		var entries []int
		for _, entry := range pairs[i+1].Content {
			entries = append(entries, entry.Line)
		}
		switch pairs[i].Value {
		case "workloads":
			l.workloads = entries
		case "services":
			l.services = entries
		}
	}
	return l
}
