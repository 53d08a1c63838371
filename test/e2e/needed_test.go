// SPDX-License-Identifier: Apache-2.0

//go:build e2e && !traces && !kiali

package e2e

// needed are the programs that the tests run, and what builds each.
var needed = map[string]string{
	collectorPath:  "make build",
	prometheusPath: "test/e2e/servers/build.sh prometheus (or make e2e)",
	lokiPath:       "test/e2e/servers/build.sh loki (or make e2e)",
	etcdPath:       "test/e2e/servers/build.sh etcd (or make e2e)",
	apiServerPath:  "test/e2e/servers/build.sh kube-apiserver (or make e2e)",
	istiodPath:     "test/e2e/servers/build.sh istiod (or make e2e)",
}
