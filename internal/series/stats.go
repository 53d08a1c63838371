// SPDX-License-Identifier: Apache-2.0

package series

import (
	"slices"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Stats are numbers for self telemetry; all but UnknownAddresses, Series and Labels are totals.
type Stats struct {
	UnknownAddresses        int    // in labels
	UnknownAddressesRefused uint64 // flows with `other` in place of an address, as there were too many

	Counted  flow.Counters // given to the series
	Exported flow.Counters // of these, what a delivered snapshot contained

	Service, Workload, Connection, Istio, Latency SetStats

	// Labels are those with most values, of each set.
	Labels []LabelValues
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
	stats.Labels = slices.Concat(s.service.values.most(Service), s.workload.values.most(Workload),
		s.connection.values.most(Connection), s.istio.values.most(Istio), s.latency.values.most(Latency))
	return stats
}

func (s *set[K]) stats() SetStats {
	return SetStats{Series: len(s.entries), Refused: s.refused, Evicted: s.evicted}
}
