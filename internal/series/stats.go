// SPDX-License-Identifier: Apache-2.0

package series

import (
	"slices"

	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// Stats returns the current numbers.
func (s *Sets) Stats() sink.Series {
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

func (s *set[K]) stats() sink.Set {
	return sink.Set{Series: len(s.entries), Refused: s.refused, Evicted: s.evicted}
}
