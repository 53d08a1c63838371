// SPDX-License-Identifier: Apache-2.0

// Package live sends viewers what changed in the graph, as server-sent events. Each event is made once, whatever the
// number of viewers, and none without a viewer.
package live
