// SPDX-License-Identifier: Apache-2.0

package graph

import "time"

const (
	slotCount = 60 // of an edge's history

	// What one drawn node may stand for. A workload's edge has up to five metrics from each of its reporters.
	seriesPerNode  = 200
	edgesPerNode   = 8
	recordsPerNode = 10

	recordsPerEdge = 20
	maxWaiting     = 1000             // access log records that are ahead of the metrics of their edge
	waitFor        = 30 * time.Second // two flushes of the receiver at its slowest usual interval
	maxName        = 256              // bytes; no name of Kubernetes has more than 253
	idleAfter      = 15 * time.Second // an edge that carried nothing is drawn dashed
)

// Settings bound what a Graph keeps.
type Settings struct {
	// Window is how long an edge without traffic stays.
	Window time.Duration
	// MaxNodes is how many nodes are drawn. Series, histories and access log records are bounded in proportion.
	MaxNodes int
	// Now is the clock.
	Now func() time.Time
}

// step is the length of a slot of an edge's history.
func (s *Settings) step() time.Duration { return max(s.Window/slotCount, time.Second) }
