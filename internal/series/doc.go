// SPDX-License-Identifier: Apache-2.0

// Package series adds flows to sets of series, and writes snapshots of them as pmetric.Metrics.
//
// Series are held, connections are not: the kernel keeps each connection's state and reports what it added. The metrics
// are tables in metrics.go; their names, units and labels are those of Kmesh's L4 telemetry.
package series
