// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// node is what is kept of a Node.
type node struct {
	name     string
	workload *identity.Workload
	created  time.Time
	round    uint32       // the last list that had it
	reported []netip.Addr // its addresses in the status

	region, zone string
}

func (c *cluster) node(n *corev1.Node) *node {
	var texts []string
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			texts = append(texts, a.Address)
		}
	}
	addresses := parse(texts)
	return &node{name: n.Name, created: n.CreationTimestamp.Time, reported: addresses,
		region: first(n.Labels, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaRegion),
		zone:   first(n.Labels, corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone),
		workload: &identity.Workload{
			UID:         "node/" + n.Name,
			Name:        n.Name,
			Names:       identity.Names{Workload: n.Name, Cluster: c.id}.Handle(),
			HostNetwork: true,
			Node:        true,
			Addresses:   addresses,
		}}
}
