// SPDX-License-Identifier: Apache-2.0

// Package istio is the source of identities that asks istiod: the workloads and services of Istio's workload API, by the
// incremental protocol that ztunnel uses (delta ADS).
//
// Resources are read from the wire by this package, by their field numbers in istio/istio's workload.proto, and not with
// istio.io/istio/pkg/workloadapi: the one version of that module that can be had needs Kubernetes libraries that the
// collector's own Kubernetes components do not compile with. The module in the folder conformance compares the two.
package istio
