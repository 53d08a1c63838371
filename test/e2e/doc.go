// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the distribution as its users run it: test hosts in network namespaces make real connections,
// dist/otelcol-kmesh watches them, and a real Prometheus and a real Loki are asked what arrived.
//
// The collector sees every network namespace of the machine: nothing else may use the test hosts' addresses
// (10.244.0.10, 10.244.0.11, 10.244.7.0/24, 10.244.8.0/24, fd00:244:7::/64) while the tests run.
//
// Everything but this file has the build tag e2e; `make e2e` builds what it needs and runs it, as root.
package e2e
