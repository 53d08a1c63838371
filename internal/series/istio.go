// SPDX-License-Identifier: Apache-2.0

package series

import (
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Envoy's response flags of a connect that failed.
var (
	flagsUpstreamFailure = unique.Make("UF")
	flagsUpstreamTimeout = unique.Make("UT")
)

// istioTraits returns traits with the flag that Envoy would report.
func istioTraits(t traits, c *flow.Connection) traits {
	switch {
	case t.flags == noFlags:
	case c.ErrorType == flow.ErrorTimedOut:
		t.flags = flagsUpstreamTimeout
	default:
		t.flags = flagsUpstreamFailure
	}
	return t
}

// istioDelta returns what Istio counts: received is what the client sent, whoever reports it, and sent what the server sent.
func istioDelta(delta flow.Counters, reporter flow.Direction) flow.Counters {
	if reporter == flow.Outbound {
		delta[flow.Sent], delta[flow.Received] = delta[flow.Received], delta[flow.Sent]
	}
	return delta
}
