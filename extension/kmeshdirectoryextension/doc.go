// SPDX-License-Identifier: Apache-2.0

// Package kmeshdirectoryextension answers agents that ask who has an address, so that one collector watches the cluster for
// all of them.
package kmeshdirectoryextension

//go:generate mdatagen metadata.yaml
