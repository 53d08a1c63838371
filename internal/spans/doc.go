// SPDX-License-Identifier: Apache-2.0

// Package spans is the stage that writes each connection end as a span. Both ends of a connection have the same trace id,
// which each agent computes by itself: see flow.Trace.
package spans
