// SPDX-License-Identifier: Apache-2.0

// Package otlp writes snapshots of series as pmetric.Metrics and named flows as plog.Logs, and delivers both to the
// next consumer without ever making the reader of the kernel's records wait.
//
// The names, units and attributes are the telemetry contract's; they come from Kmesh's L4 telemetry.
package otlp
