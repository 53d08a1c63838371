// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// The pods of the contract's sample, at addresses that no other test uses: the load on others would drown them.
const (
	sleepAddress   = "10.244.8.10"
	httpbinAddress = "10.244.8.11"
	httpbinTarget  = httpbinAddress + ":80"
	laterAddress   = "10.244.8.12" // of a pod that comes later
)

func sleepPod() *corev1.Pod {
	return podOf("sleep", "7656cf8794", "4fqx2", map[string]string{"app": "sleep"}, sleepAddress)
}

func httpbinPod() *corev1.Pod {
	p := podOf("httpbin", "5c5944c58c", "v9mlk", map[string]string{"app": "httpbin", "version": "v1"}, httpbinAddress)
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 80}}
	return p
}

// httpbinService names the target port, so that only the endpoint slice and the pod know its number.
func httpbinService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "httpbin", Namespace: "default"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.5.5", Selector: map[string]string{"app": "httpbin"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 8000, TargetPort: intstr.FromString("web")}},
		},
	}
}

func httpbinSlice() *discoveryv1.EndpointSlice {
	name, port := "http", int32(80)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: "httpbin-x2k4p", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "httpbin"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{httpbinAddress},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: httpbinPod().Name},
		}},
	}
}

// inSync waits until the collector says of its source of identities whether it is in sync.
func (c *collector) inSync(t testing.TB, want bool) {
	t.Helper()
	value := map[bool]string{true: " 1", false: " 0"}[want]
	eventually(t, func(a *assert.CollectT) {
		for line := range strings.Lines(c.ownMetrics()) {
			if strings.HasPrefix(line, "otelcol_kmesh_identity_in_sync") {
				require.True(a, strings.HasSuffix(strings.TrimSpace(line), value), line)
				return
			}
		}
		require.Fail(a, "no otelcol_kmesh_identity_in_sync")
	})
}

// TestKubernetes makes the contract's sample of real objects, with no more rights than the manifest gives, and goes on
// over a relabelled pod, an API server that is away, and an address that is given to another pod meanwhile.
func TestKubernetes(t *testing.T) {
	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", sleepAddress+"/24")
	httpbin := network.Host("httpbin", httpbinAddress+"/24")
	var server count
	serve(t, httpbin, httpbinTarget, func(int64) int64 { return answerSize }, &server)

	// The collector is there before the API server.
	c := newCluster(t)
	kubeconfig, token := c.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, []byte("not yet"), 0o600))
	s := startStack(t, "E2E_SOURCE=kubernetes", "KUBECONFIG="+kubeconfig)
	s.collector.inSync(t, false)

	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	c.create(t, sleepPod(), httpbinPod(), httpbinService(), httpbinSlice())
	synced := time.Now()
	s.collector.inSync(t, true)
	t.Logf("in sync %s after the token was there", time.Since(synced).Round(time.Millisecond))

	plainConnection(t, sleep, httpbinTarget)
	testSample(t, s.prometheus, strings.Replace(contractSample, "10.244.0.11", httpbinAddress, 1))
	eventually(t, func(a *assert.CollectT) {
		samples, err := s.prometheus.query(`kmesh_tcp_received_bytes_total{reporter="destination"}`)
		require.NoError(a, err)
		require.Len(a, samples, 1)
		for name, want := range serviceSet {
			assert.Equal(a, want, samples[0].labels[name], name)
		}
	})

	ctx := context.Background()
	pods := c.client.CoreV1().Pods("default")
	_, err := pods.Patch(ctx, httpbinPod().Name, types.MergePatchType, []byte(`{"metadata": {"labels": {"version": "v2"}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	arrivesAt(t, s, sleep, httpbinTarget, `destination_version="v2",destination_service="httpbin.default.svc.cluster.local"`)

	// While the watch is away, the pod is deleted and another one gets its address.
	c.apiServer.kill()
	s.collector.inSync(t, false)
	eventually(t, func(a *assert.CollectT) {
		require.Contains(a, tail(s.collector.log, 16<<10), "identities of the cluster are not in sync; the known ones stay in use")
	})
	arrivesAt(t, s, sleep, httpbinTarget, `destination_version="v2"`)
	c.apiServer.launch()
	c.deletePod(t, httpbinPod().Name)
	c.create(t, podOf("echo", "57b4c6d9f4", "m8n3p", nil, httpbinAddress))
	arrivesAt(t, s, sleep, httpbinTarget, `destination_workload="echo",destination_version="latest"`)
	s.collector.inSync(t, true)
}

// arrivesAt makes connections until one more arrives at a series of these labels.
func arrivesAt(t *testing.T, s *stack, from *testhost.Host, to, labels string) {
	t.Helper()
	query := `sum(kmesh_tcp_connections_closed_total{reporter="source",source_workload="sleep",` + labels + `})`
	var before float64
	if samples, err := s.prometheus.query(query); err == nil && len(samples) == 1 {
		before = samples[0].value
	}
	eventually(t, func(a *assert.CollectT) {
		plainConnection(t, from, to)
		samples, err := s.prometheus.query(query)
		require.NoError(a, err)
		require.Len(a, samples, 1, labels)
		require.Greater(a, samples[0].value, before, labels)
	})
}

// TestKubernetesManifests applies the manifest of each identity source, and validates its configurations.
func TestKubernetesManifests(t *testing.T) {
	for manifest, source := range map[string]string{"otelcol-kmesh.yaml": "kubernetes", "otelcol-kmesh-istio.yaml": "istio"} {
		t.Run(source, func(t *testing.T) {
			c := newCluster(t)
			c.startAPIServer(t)
			c.apply(t, manifest)
			for _, name := range []string{agentAccount, agentAccount + "-gateway"} {
				config, err := c.client.CoreV1().ConfigMaps(agentNamespace).Get(t.Context(), name, metav1.GetOptions{})
				require.NoError(t, err)
				path := c.write(t, "config.yaml", []byte(config.Data["config.yaml"]))
				out, err := validate(path, "GATEWAY=127.0.0.1:4317", "K8S_NODE_NAME=e2e-node", "KMESH_QUEUE="+t.TempDir())
				require.NoError(t, err, out)
				if name == agentAccount {
					require.Regexp(t, `identity:\s+source: `+source, config.Data["config.yaml"])
				}
			}
		})
	}
}

// TestKubernetesRights takes each right of the manifest away: the source names it.
func TestKubernetesRights(t *testing.T) {
	c := newCluster(t)
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	kubeconfig, token := c.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	t.Setenv("KUBECONFIG", kubeconfig)

	ctx := context.Background()
	whole, err := c.client.RbacV1().ClusterRoles().Get(ctx, agentAccount, metav1.GetOptions{})
	require.NoError(t, err)
	for _, right := range []struct{ verb, resource, rule string }{
		{"list", "pods", `{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}`},
		{"watch", "services", `{apiGroups: [""], resources: [services], verbs: [get, list, watch]}`},
		{"watch", "nodes", `{apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}`},
		{"list", "endpointslices", `{apiGroups: ["discovery.k8s.io"], resources: [endpointslices], verbs: [get, list, watch]}`},
	} {
		t.Run(right.verb+" "+right.resource, func(t *testing.T) {
			less := whole.DeepCopy()
			less.ResourceVersion = ""
			less.Rules = nil
			for _, rule := range whole.Rules {
				for _, resource := range rule.Resources {
					r := rule.DeepCopy()
					r.Resources = []string{resource}
					if resource == right.resource && right.verb == "watch" {
						r.Verbs = []string{"get", "list"}
					}
					if resource != right.resource || right.verb == "watch" {
						less.Rules = append(less.Rules, *r)
					}
				}
			}
			_, err := c.client.RbacV1().ClusterRoles().Update(ctx, less, metav1.UpdateOptions{})
			require.NoError(t, err)

			o := observe(t)
			o.says(right.rule)
			t.Log(o.last())
			require.NotContains(t, o.last(), "\n", "only this right is missing")
			require.False(t, o.InSync())

			back := whole.DeepCopy()
			back.ResourceVersion = ""
			_, err = c.client.RbacV1().ClusterRoles().Update(ctx, back, metav1.UpdateOptions{})
			require.NoError(t, err)
			require.Eventually(t, o.InSync, time.Minute, 100*time.Millisecond)
		})
	}
}
