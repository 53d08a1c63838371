// SPDX-License-Identifier: Apache-2.0

// Package delivery hands snapshots of metrics and batches of records to the next consumers, on goroutines of its own, so that a slow
// consumer never blocks the goroutine that reads the kernel's records.
package delivery

// Format is the name of our data in the collector's own metrics of receivers.
const Format = "kmesh"
