// SPDX-License-Identifier: Apache-2.0

// Package agent reads the probe's records, names their ends, aggregates them into series and access log records, and hands
// those over to the next consumers. It knows no collector: the receiver configures, starts and stops it.
package agent
