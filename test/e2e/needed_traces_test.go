// SPDX-License-Identifier: Apache-2.0

//go:build e2e && traces

package e2e

// needed are the programs that the tests of traces run, and what builds each.
var needed = map[string]string{
	collectorPath:  "make build",
	prometheusPath: "test/e2e/servers/build.sh prometheus (or make e2e-traces)",
	lokiPath:       "test/e2e/servers/build.sh loki (or make e2e-traces)",
	jaegerPath:     "test/e2e/servers/build.sh jaeger (or make e2e-traces)",
}
