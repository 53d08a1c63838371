// SPDX-License-Identifier: Apache-2.0

// Package file is the identity source that reads workloads and services from a YAML file, by the names that Istio's
// workload API has for them, and reads it again when it changes.
package file
