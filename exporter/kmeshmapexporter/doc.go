// SPDX-License-Identifier: Apache-2.0

// Package kmeshmapexporter serves a page with a live map of TCP traffic, from the metrics and the access log of the
// receiver kmesh.
package kmeshmapexporter

//go:generate mdatagen metadata.yaml
