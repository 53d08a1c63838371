// SPDX-License-Identifier: Apache-2.0

// Package deploy tests what installs the collector: the Helm chart, and the manifests rendered from it.
// The tests with the build tag e2e also need root, a real kube-apiserver and the built distribution.
package deploy
