// SPDX-License-Identifier: Apache-2.0

package series

import "github.com/kmesh-net/otelcol-kmesh/internal/flow"

// Stats are numbers for self telemetry; all but UnknownAddresses and Series are totals.
type Stats struct {
	UnknownAddresses        int    // in labels
	UnknownAddressesRefused uint64 // flows with `other` in place of an address, as there were too many

	Counted  flow.Counters // given to the series
	Exported flow.Counters // of these, what a delivered snapshot contained

	Service, Workload, Connection, Istio, Latency SetStats
}

// SetStats are the numbers of one set.
type SetStats struct {
	Series  int    // held, the overflow series and ended ones that wait for delivery included
	Refused uint64 // flows that the limit, or the share of their workload, sent to the overflow series
	Evicted uint64 // series that ended early to make room
}

// Stats returns the current numbers.
func (s *Sets) Stats() Stats {
	stats := s.stats
	stats.Counted = s.counted
	stats.UnknownAddresses = len(s.addresses.used)
	stats.Service = s.service.stats()
	stats.Workload = s.workload.stats()
	stats.Connection = s.connection.stats()
	stats.Istio = s.istio.stats()
	stats.Latency = s.latency.stats()
	return stats
}

func (s *set[K]) stats() SetStats {
	return SetStats{Series: len(s.entries), Refused: s.refused, Evicted: s.evicted}
}
