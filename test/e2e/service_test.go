// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const serviceAddress = "10.96.5.5:8000" // of httpbin, in the identity file

// kubeProxy has the node, at an address of the network, send what the client sends from its address to a service's to the
// pod, as kube-proxy does: the client's socket does not notice.
func kubeProxy(t *testing.T, network *testhost.Network, node string, client, server *testhost.Host, from, service, pod string) {
	t.Helper()
	network.Node(node)
	table := "kmesh-e2e"
	nft := func(rules string) {
		out, err := exec.Command("nft", rules).CombinedOutput() // #nosec G204 -- the test's own arguments
		require.NoError(t, err, string(out))
	}
	address := netip.MustParseAddrPort(service)
	nft(fmt.Sprintf(`add table ip %[1]s; add chain ip %[1]s pre { type nat hook prerouting priority -100; };
		add rule ip %[1]s pre ip daddr %[2]s tcp dport %[3]d dnat to %[4]s`, table, address.Addr(), address.Port(), pod))
	t.Cleanup(func() { nft("delete table ip " + table) })
	// Both ways lead over the node, as they do for pods, though the pods could reach each other here.
	for _, host := range []*testhost.Host{client, server} {
		host.Run("sysctl", "-q", "net.ipv4.conf.all.accept_redirects=0", "net.ipv4.conf.eth0.accept_redirects=0")
	}
	gateway := netip.MustParsePrefix(node).Addr()
	client.Run("ip", "route", "add", address.Addr().String()+"/32", "via", gateway.String())
	server.Run("ip", "route", "add", from+"/32", "via", gateway.String())
}

// TestAClientOfAServiceTellsThePodBehindIt connects to a service's address that the node translates.
func TestAClientOfAServiceTellsThePodBehindIt(t *testing.T) {
	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", "10.244.0.10/24")
	httpbin := network.Host("httpbin", "10.244.0.11/24")
	kubeProxy(t, network, "10.244.0.1/24", sleep, httpbin, "10.244.0.10", serviceAddress, "10.244.0.11:80")
	s := startStack(t)
	var server count
	serve(t, httpbin, "10.244.0.11:80", func(int64) int64 { return answerSize }, &server)

	client := plainConnection(t, sleep, serviceAddress)
	for metric, set := range map[string]map[string]string{
		"kmesh_tcp_sent_bytes_total": serviceSet, "kmesh_tcp_workload_sent_bytes_total": workloadSet,
	} {
		eventually(t, func(a *assert.CollectT) {
			samples, err := s.prometheus.query(metric + `{reporter="source",source_workload="sleep"}`)
			require.NoError(a, err)
			require.Len(a, samples, 1)
			require.InDelta(a, sampleRequest, samples[0].value, 0)
			for _, want := range []map[string]string{shared, set} {
				for name, value := range want {
					assert.Equal(a, value, samples[0].labels[name], name)
				}
			}
		})
	}
	eventually(t, func(a *assert.CollectT) {
		lines, err := s.loki.lines(toHttpbin + ` | direction="OUTBOUND"`)
		require.NoError(a, err)
		require.Len(a, lines, 1)
		assert.Equal(a, client.local, lines[0].labels["src_addr"])
		assert.Equal(a, "10.244.0.11:80", lines[0].labels["dst_addr"])
		assert.Equal(a, "httpbin-5c5944c58c-v9mlk", lines[0].labels["dst_workload"])
		assert.Equal(a, "httpbin.default.svc.cluster.local", lines[0].labels["dst_service"])
	})
}
