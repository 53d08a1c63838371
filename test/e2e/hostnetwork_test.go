// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

func init() { testhost.BeTraffic() }

// The node of the test, whose address two pods share with it, and a pod on another one.
const (
	nodeAddress  = "10.244.9.1"
	otherAddress = "10.244.9.2"
)

// TestKubernetesHostNetwork runs two pods and a static one on the node's network, and a process that is in none. Their
// connections all have one address; their series have four names.
func TestKubernetesHostNetwork(t *testing.T) {
	network := testhost.NewNetwork(t)
	node, other := network.Host("node", nodeAddress+"/24"), network.Host("other", otherAddress+"/24")
	mount, err := probe.CgroupRoot("")
	require.NoError(t, err)
	cgroups := testhost.NewCgroups(t, mount)

	c := newCluster(t)
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	kubeconfig, token := c.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))

	const manifest = "0f1e2d3c4b5a69788796a5b4c3d2e1f0" // what the kubelet calls the static pod
	agent, exporter := podOf("agent", "7656cf8794", "4fqx2", nil, nodeAddress), podOf("exporter", "5c5944c58c", "v9mlk", nil, nodeAddress)
	static := podOf("scheduler", "57b4c6d9f4", "m8n3p", nil, nodeAddress)
	static.Annotations = map[string]string{"kubernetes.io/config.mirror": manifest}
	for _, p := range []*corev1.Pod{agent, exporter, static} {
		p.Spec.HostNetwork = true
	}
	c.create(t, agent, exporter, static, podOf("other", "57b4c6d9f4", "x2k4p", nil, otherAddress), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-node"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeAddress}}},
	})
	uid := func(p *corev1.Pod) string {
		made, err := c.client.CoreV1().Pods("default").Get(context.Background(), p.Name, metav1.GetOptions{})
		require.NoError(t, err)
		return string(made.UID)
	}
	places := map[string]string{ // by workload
		"agent": cgroups.Make("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" +
			strings.ReplaceAll(uid(agent), "-", "_") + ".slice/cri-containerd-1.scope"),
		"exporter":  cgroups.Make("kubepods/besteffort/pod" + uid(exporter) + "/1"),
		"scheduler": cgroups.Make("kubepods/burstable/pod" + manifest + "/1"),
		"e2e-node":  "",
	}
	s := startStack(t, "E2E_SOURCE=kubernetes", "KUBECONFIG="+kubeconfig)
	s.collector.inSync(t, true)

	other.Serve("", otherAddress+":9000")
	ports := map[string]string{"agent": "8001", "exporter": "8002", "scheduler": "8003", "e2e-node": "8004"}
	for name, place := range places {
		node.Serve(place, nodeAddress+":"+ports[name])
		other.Dial("", nodeAddress+":"+ports[name])
		node.Dial(place, otherAddress+":9000")
	}
	requireOneEach := func(reporter, side, peer string, sent float64) {
		t.Helper()
		eventually(t, func(a *assert.CollectT) {
			got := make(map[string]float64)
			samples, err := s.prometheus.query(`kmesh_tcp_sent_bytes_total{reporter="` + reporter + `",` + peer + `="other"}`)
			require.NoError(a, err)
			for _, sample := range samples {
				got[sample.labels[side]] += sample.value
			}
			require.Equal(a, map[string]float64{"agent": sent, "exporter": sent, "scheduler": sent, "e2e-node": sent}, got)
		})
	}
	requireOneEach("source", "source_workload", "destination_workload", 3)
	requireOneEach("destination", "destination_workload", "source_workload", 5)

	// A pod that is deleted has its last connections still.
	c.deletePod(t, agent.Name)
	node.Dial(places["agent"], otherAddress+":9000")
	eventually(t, func(a *assert.CollectT) {
		samples, err := s.prometheus.query(`kmesh_tcp_connections_closed_total{reporter="source",source_workload="agent"}`)
		require.NoError(a, err)
		require.Len(a, samples, 1)
		require.InDelta(a, 2, samples[0].value, 0)
	})
}
