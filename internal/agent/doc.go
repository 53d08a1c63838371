// SPDX-License-Identifier: Apache-2.0

// Package agent assembles the stages and drives them: it reads the probe's records, decodes them, and passes them to naming,
// from where they go to the series, the access log, and the deliveries. It knows no collector: the receiver configures, starts and stops it.
package agent
