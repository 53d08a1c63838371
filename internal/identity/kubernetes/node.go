// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// node is what is left of a Node.
type node struct {
	metav1.ObjectMeta
	workload *identity.Workload
}

func (c *cluster) node(n *corev1.Node) *node {
	var texts []string
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			texts = append(texts, a.Address)
		}
	}
	return &node{ObjectMeta: meta(&n.ObjectMeta), workload: &identity.Workload{
		UID:  "node/" + n.Name,
		Name: n.Name, Namespace: identity.Unknown,
		Names:       identity.Names{Workload: n.Name, Cluster: c.id}.Handle(),
		HostNetwork: true,
		Node:        true,
		Addresses:   parse(texts),
	}}
}
