// SPDX-License-Identifier: Apache-2.0

// Package delivery hands metrics and access log records to the next consumers, on goroutines of its own, so that a slow
// consumer never blocks the goroutine that reads the kernel's records.
package delivery

// format names our data to the collector's own metrics of receivers.
const format = "kmesh"
