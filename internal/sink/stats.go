// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Stats are a sink's numbers for self telemetry.
type Stats struct {
	Item   string              // what self telemetry calls one record: log, span; empty: it has no records
	Queue  delivery.QueueStats // of its records
	Series Series              // that it holds
}

// Series are the numbers of a sink that holds series; all but UnknownAddresses, Labels and those of the sets are totals.
type Series struct {
	UnknownAddresses        int    // in labels
	UnknownAddressesRefused uint64 // flows with `other` in place of an address, as there were too many

	Counted  flow.Counters // given to the series
	Exported flow.Counters // of these, what a delivered snapshot contained

	Service, Workload, Connection, Istio, Latency Set

	// Labels are those with most values, of each set.
	Labels []LabelValues
}

// LabelValues is how many values a label has in the series of a set.
type LabelValues struct {
	Set, Label string
	Values     int
}

// Set are the numbers of one set of series.
type Set struct {
	Series  int    // held, the overflow series and ended ones that wait for delivery included
	Refused uint64 // flows that the limit, or the share of their workload, sent to the overflow series
	Evicted uint64 // series that ended early to make room
}

// Loss is what a sink could not deliver before it ended. Nobody can query it any more, as self telemetry ends with the sink.
type Loss struct {
	Message string
	Err     error
	Fields  []zap.Field
}
