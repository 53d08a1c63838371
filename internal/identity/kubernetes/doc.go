// SPDX-License-Identifier: Apache-2.0

// Package kubernetes is the identity source that watches an API server: pods with their owners, services with what is
// behind them, and nodes.
//
// It reads four resources of the whole cluster (pods, services, endpoint slices, nodes; get, list and watch), as
// deploy/kubernetes/rbac.yaml grants them. Owners are derived from the pods alone, as in Istio, so that
// neither ReplicaSets nor Jobs are watched.
package kubernetes
