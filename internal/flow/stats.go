// SPDX-License-Identifier: Apache-2.0

package flow

// Stats are the aggregator's numbers for self telemetry; all but Waiting, Series and UnknownAddresses are totals.
type Stats struct {
	Waiting       int    // records that wait for an identity
	SettleExpired uint64 // records that waited in vain
	SettleRefused uint64 // records that counted before their time, because too many waited

	// Lookups that ended unknown, by side.
	UnknownSource, UnknownDestination uint64

	UnknownAddresses        int    // that labels say
	UnknownAddressesRefused uint64 // flows of which `other` is said, as there were too many

	OutOfScopeRecords uint64
	OutOfScope        Counters // what those records would have counted

	Counted  Counters // given to the series
	Exported Counters // of these, what a delivered snapshot held

	Service, Workload, Connection SetStats
}

// SetStats are the numbers of one set.
type SetStats struct {
	Series  int    // held, the overflow series and ended ones that wait for delivery included
	Refused uint64 // flows that the limit sent to the overflow series
}

// Stats gives the numbers as they are now.
func (a *Aggregator) Stats() Stats {
	s := a.stats
	s.Waiting = a.waiting.len()
	s.Counted = a.counted
	s.UnknownAddresses = len(a.addresses.used)
	s.Service = a.service.stats()
	s.Workload = a.workload.stats()
	s.Connection = a.connection.stats()
	return s
}

func (s *set[K]) stats() SetStats {
	return SetStats{Series: len(s.entries), Refused: s.refused}
}
