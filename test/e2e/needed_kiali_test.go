// SPDX-License-Identifier: Apache-2.0

//go:build e2e && kiali && !traces

package e2e

// needed are the programs that the Kiali test runs, and what builds each.
var needed = map[string]string{
	collectorPath:  "make build",
	prometheusPath: "test/e2e/servers/build.sh prometheus (or make e2e-kiali)",
	etcdPath:       "test/e2e/servers/build.sh etcd (or make e2e-kiali)",
	apiServerPath:  "test/e2e/servers/build.sh kube-apiserver (or make e2e-kiali)",
	kialiPath:      "test/e2e/servers/build.sh kiali (or make e2e-kiali)",
}
