// SPDX-License-Identifier: Apache-2.0

// Package kmeshreceiver reports every TCP connection on a node as OTLP metrics and logs:
// who talked to whom, how many bytes, and how it ended.
package kmeshreceiver

//go:generate mdatagen metadata.yaml
