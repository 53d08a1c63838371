// SPDX-License-Identifier: Apache-2.0

package series

import (
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// A set, or the places of unknown addresses, that are half full give no more to a workload that has a quarter of them:
// one process cannot take all. Limits below leastShared are not shared, nor is room made under them.
const (
	crowdedPart = 2
	sharePart   = 4
	leastShared = 1000
)

// crowded returns whether an owner of some of the used places gets no more of them.
func crowded(used, owned, limit int) bool {
	return limit >= leastShared && used >= limit/crowdedPart && owned >= limit/sharePart
}

// ownerOf returns the workload whose end a flow is of: what others do to it is not its.
func ownerOf(f *flow.Flow) unique.Handle[identity.Names] {
	if f.Connection.Direction == flow.Inbound {
		return namesOf(f.Destination)
	}
	return namesOf(f.Source)
}

// pressure is on while flows are refused, and until what they came with is delivered: only then can it make room.
type pressure struct {
	refused bool   // a flow, since the last snapshot
	by      uint64 // the newest snapshot before which one was; 0: none
}

// at returns whether there is pressure at a snapshot.
func (p *pressure) at(snapshot, delivered uint64) bool {
	if p.refused {
		p.by, p.refused = snapshot, false
		return true
	}
	on := p.by != 0
	if p.by <= delivered {
		p.by = 0 // room is made now
	}
	return on
}
