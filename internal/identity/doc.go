// SPDX-License-Identifier: Apache-2.0

// Package identity knows who had an address at a time.
//
// A connection's end is named by who had its address when the connection began, not by who has it when the record is
// read: a pod that is deleted while its last connections close still gets them, and a pod that takes over an address
// is never credited with its predecessor's bytes.
//
// [Index] keeps that history for the sources that learn of workloads and services from somewhere (the folders file and,
// with a watch behind them, kubernetes and istio). The folder host names the local machine's processes instead.
package identity
