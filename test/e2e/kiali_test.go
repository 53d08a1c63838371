// SPDX-License-Identifier: Apache-2.0

//go:build e2e && kiali

package e2e

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// TestKiali lets a pod and an address without a holder send bytes to another pod at a known rate. Kiali's graphs of the
// namespace must have these edges with these rates, and no others.
func TestKiali(t *testing.T) {
	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", sleepAddress+"/24")
	httpbin := network.Host("httpbin", httpbinAddress+"/24")
	stranger := network.Host("stranger", "10.244.8.99/24")

	c := newCluster(t)
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	kubeconfig, token := c.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	c.create(t, sleepPod(), httpbinPod(), httpbinService(), httpbinSlice())
	p := startPrometheus(t)
	startIstioSet(t, p, "E2E_SOURCE=kubernetes", "KUBECONFIG="+kubeconfig)
	k := startKiali(t, c, p)
	stream(t, sleep, httpbin, httpbinTarget)
	stream(t, stranger, httpbin, httpbinAddress+":81")

	for kind, edges := range map[string][]string{
		"workload":     {"sleep > httpbin tcp", "unknown > httpbin tcp"},
		"versionedApp": {"sleep latest > httpbin v1 tcp", "unknown > httpbin v1 tcp"},
		"service":      {"sleep > httpbin tcp", "unknown > httpbin tcp"},
	} {
		// What Kiali calls sent is what the client sent.
		for rate, want := range map[string]float64{"sent": streamUp, "received": streamDown} {
			t.Run(kind+" "+rate, func(t *testing.T) {
				eventually(t, func(a *assert.CollectT) {
					got, err := k.graph(kind, "default", rate)
					require.NoError(a, err)
					require.ElementsMatch(a, edges, slices.Collect(maps.Keys(got)))
					for edge, value := range got {
						require.InEpsilon(a, want, value, streamError, edge)
					}
				})
			})
		}
	}
}
