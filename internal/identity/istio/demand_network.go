// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"net/netip"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// own returns the network that the node is in: the one that the settings name, else that of most pods on the node, else that
// of most workloads that are held. Ties go to the lowest name.
func (d *demand) own() string {
	if d.config.Network != "" {
		return d.config.Network
	}
	onNode, inCluster := make(map[string]int), make(map[string]int)
	for _, e := range d.entries {
		if e.workload == nil || e.cluster != d.config.ClusterID {
			continue
		}
		inCluster[e.network]++
		if d.isLocal(e) {
			onNode[e.network]++
		}
	}
	for _, tally := range []map[string]int{onNode, inCluster} {
		if network, ok := most(tally); ok {
			return network
		}
	}
	return d.network
}

// rename has the addresses of another network asked for: the node turned out to be in it.
func (d *demand) rename(network string, now time.Time) {
	for _, e := range d.entries {
		d.unlist(e)
	}
	d.wants.Range(func(a netip.Addr, w *want) bool {
		if w.local {
			d.wants.Delete(a)
			return true
		}
		d.out.unsubscribe(AddressName(d.network, a))
		d.out.subscribe(AddressName(network, a))
		w.replied.Store(false)
		w.vacant.Store(0)
		w.againAt = now.Add(answerDue)
		return true
	})
	d.network = network
	for _, e := range d.entries {
		for _, a := range e.within(network) {
			d.at[a] = append(d.at[a], e)
			if d.owns(e) {
				d.pin(a, now)
			}
		}
		d.publish(e, identity.Span{}, now)
	}
}
