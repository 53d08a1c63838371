// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/extension/kmeshdirectoryextension"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// startDirectory starts a directory of the cluster that KUBECONFIG names, and returns where agents connect to.
func startDirectory(t testing.TB, address string) extension.Extension {
	t.Helper()
	factory := kmeshdirectoryextension.NewFactory()
	config := factory.CreateDefaultConfig().(*kmeshdirectoryextension.Config)
	config.NetAddr.Endpoint = address
	config.Kubernetes.AuthType = kubernetes.AuthKubeConfig
	d, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), config)
	require.NoError(t, err)
	require.NoError(t, d.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, d.Shutdown(context.Background())) })
	return d
}

// asker is a source that asks for addresses when connections use them.
func asker(t testing.TB, endpoint, node string) *istio.Source {
	t.Helper()
	config := istio.NewDefaultConfig()
	config.Endpoint, config.OnDemand, config.TLS.Insecure = endpoint, true, true
	source := istio.New(config, identity.SourceSettings{NodeName: node, Retain: time.Minute, Settle: 5 * time.Second})
	require.NoError(t, source.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, source.Close()) })
	return source
}

func workloadAt(source identity.Resolver, address string, at time.Time) *identity.Workload {
	w, _ := source.Resolve(identity.End{Address: netip.MustParseAddrPort(address)}, at)
	return w
}

// knows waits until an address has the name.
func knows(t testing.TB, source identity.Resolver, address, name string) {
	t.Helper()
	got := ""
	require.Eventually(t, func() bool {
		got = ""
		if w := workloadAt(source, address, time.Now()); w != nil {
			got = w.Name
		}
		return got == name
	}, time.Minute, 10*time.Millisecond, "%s should be %q", address, name)
}

func nodeOf(name, address string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
	}
}

// TestDirectory compares what an agent knows through a directory with what the source `kubernetes` knows of the same API server.
func TestDirectory(t *testing.T) {
	c := newCluster(t)
	kubeconfig, token := c.kubeconfig(t, "agent")
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	t.Setenv("KUBECONFIG", kubeconfig)
	hostNetwork := barePod("on-the-hosts-network", "192.168.7.1", time.Now().Add(-time.Minute))
	hostNetwork.Spec.HostNetwork = true
	c.create(t, nodeOf("node-1", "192.168.7.1"), sleepPod(), httpbinPod(), httpbinService(), httpbinSlice(), hostNetwork)

	config := kubernetes.NewDefaultConfig()
	config.AuthType = kubernetes.AuthKubeConfig
	settings := identity.SourceSettings{Retain: time.Minute, Settle: 5 * time.Second}
	all, err := kubernetes.New(config, settings)
	require.NoError(t, err)
	require.NoError(t, all.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, all.Close()) })
	require.Eventually(t, all.InSync, time.Minute, 10*time.Millisecond)

	address := fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t))
	d := startDirectory(t, address)
	agent := asker(t, address, "e2e-node")
	require.Eventually(t, agent.InSync, time.Minute, 10*time.Millisecond)
	knows(t, agent, sleepAddress+":1", sleepPod().Name) // of the node itself
	require.EqualValues(t, 2, agent.Asker().Demand().Local, "the node's pods come without being asked for")

	same := func(asked, address string) {
		t.Helper()
		to := netip.MustParseAddrPort(address)
		original := netip.AddrPort{}
		if asked != "" {
			original = netip.MustParseAddrPort(asked)
		}
		require.Eventually(t, func() bool {
			now := time.Now()
			want, got := workloadAt(all, address, now), workloadAt(agent, address, now)
			wantService, gotService := all.Service(original, to, want, now), agent.Service(original, to, got, now)
			if original.IsValid() && !agent.Asker().Answered(original.Addr(), now) {
				return false
			}
			if (want == nil) != (got == nil) || (wantService == nil) != (gotService == nil) {
				return false
			}
			return (want == nil || want.Names == got.Names && want.UID == got.UID && want.Tunnel == got.Tunnel) &&
				(wantService == nil || wantService.Key() == gotService.Key() && wantService.Name == gotService.Name)
		}, time.Minute, 10*time.Millisecond, "%s, asked for as %q", address, asked)
	}
	for _, each := range [][2]string{
		{"", sleepAddress + ":1"}, {"", httpbinTarget}, {httpbinService().Spec.ClusterIP + ":8000", httpbinTarget}, {"", "192.168.7.1:22"},
		{"", "192.0.2.9:443"}, {"", httpbinService().Spec.ClusterIP + ":8000"},
	} {
		same(each[0], each[1])
	}

	// Pods come and go; who waits for an address is sent it.
	same("", "10.244.0.77:80")
	c.create(t, podOf("later", "57b4c6d9f4", "k2j4h", nil, "10.244.0.77"))
	knows(t, agent, "10.244.0.77:80", podOf("later", "57b4c6d9f4", "k2j4h", nil).Name)
	same("", "10.244.0.77:80")
	c.deletePod(t, podOf("later", "57b4c6d9f4", "k2j4h", nil).Name)
	c.create(t, podOf("echo", "57b4c6d9f4", "m8n3p", nil, "10.244.0.77"))
	knows(t, agent, "10.244.0.77:80", podOf("echo", "57b4c6d9f4", "m8n3p", nil).Name)
	same("", "10.244.0.77:80")

	// Another replica takes over, while lookups go on.
	stop := make(chan struct{})
	var load sync.WaitGroup
	wrong := 0
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if w := workloadAt(agent, httpbinTarget, time.Now()); w != nil && w.Name != httpbinPod().Name {
				wrong++
			}
		}
	})
	require.NoError(t, d.Shutdown(context.Background()))
	require.Eventually(t, func() bool { return !agent.InSync() }, time.Minute, 10*time.Millisecond)
	startDirectory(t, address)
	knows(t, agent, httpbinTarget, httpbinPod().Name)
	close(stop)
	load.Wait()
	require.Zero(t, wrong)

	// Without the API server no agent is served, and no known name passes to another workload.
	c.apiServer.kill()
	require.Eventually(t, func() bool { return !agent.InSync() }, time.Minute, 10*time.Millisecond)
	require.Nil(t, workloadAt(agent, "10.244.0.78:80", time.Now()))
	c.apiServer.launch()
	c.create(t, podOf("last", "57b4c6d9f4", "z9z9z", nil, "10.244.0.78"))
	knows(t, agent, "10.244.0.78:80", podOf("last", "57b4c6d9f4", "z9z9z", nil).Name)
	for _, each := range [][2]string{{"", httpbinTarget}, {"", "10.244.0.77:80"}, {"", "10.244.0.78:80"}} {
		same(each[0], each[1])
	}
}

// TestIstioOnDemand asks a real istiod for the addresses that connections use.
func TestIstioOnDemand(t *testing.T) {
	c := newCluster(t)
	c.startAPIServer(t)
	d := newIstiod(t, c)
	own := podOf("own", "57b4c6d9f4", "aaaaa", nil, "10.244.0.50")
	own.Spec.NodeName = "another-node"
	c.create(t, sleepPod(), httpbinPod(), httpbinService(), httpbinSlice(), own)
	d.start(t)

	agent := asker(t, d.plain, "another-node")
	require.Eventually(t, agent.InSync, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { return agent.Asker().Demand().Local == 1 }, time.Minute, 10*time.Millisecond)
	require.Equal(t, own.Name, workloadAt(agent, "10.244.0.50:80", time.Now()).Name, "without being asked for")
	require.Zero(t, agent.Asker().Demand().Requests)

	asked := time.Now()
	knows(t, agent, httpbinTarget, httpbinPod().Name)
	t.Logf("known %s after it was met", time.Since(asked).Round(time.Millisecond))
	require.Equal(t, httpbinPod().Name, workloadAt(agent, httpbinTarget, asked).Name)
	vip := netip.MustParseAddrPort(httpbinService().Spec.ClusterIP + ":8000")
	require.Eventually(t, func() bool { return agent.Asker().Answered(vip.Addr(), asked) }, time.Minute, 10*time.Millisecond)
	s := agent.Service(vip, netip.MustParseAddrPort(httpbinTarget), nil, time.Now())
	require.NotNil(t, s)
	require.Equal(t, "httpbin", s.Name)
	require.EqualValues(t, 2, agent.Held().Workloads, "the node's own, and the one that was met")

	// "Nobody has this address" is an answer. istiod does not report who gets it, so it is asked again.
	require.Nil(t, workloadAt(agent, laterAddress+":80", time.Now()))
	require.Eventually(t, func() bool { return agent.Asker().Demand().Unknown == 1 }, time.Minute, 10*time.Millisecond)
	later := podOf("later", "57b4c6d9f4", "k2j4h", nil, laterAddress)
	c.create(t, later)
	knows(t, agent, laterAddress+":80", later.Name)
	ofLater := time.Now()

	// A pod that is deleted, and another one that gets its address.
	c.deletePod(t, later.Name)
	knows(t, agent, laterAddress+":80", "")
	echo := podOf("echo", "57b4c6d9f4", "m8n3p", nil, laterAddress)
	c.create(t, echo)
	knows(t, agent, laterAddress+":80", echo.Name)
	require.Equal(t, later.Name, workloadAt(agent, laterAddress+":80", ofLater).Name, "its last bytes")

	// istiod is away while it happens.
	d.kill()
	require.Eventually(t, func() bool { return !agent.InSync() }, time.Minute, 10*time.Millisecond)
	c.deletePod(t, echo.Name)
	last := podOf("last", "57b4c6d9f4", "z9z9z", nil, laterAddress)
	c.create(t, last)
	d.launch()
	knows(t, agent, laterAddress+":80", last.Name)
	knows(t, agent, httpbinTarget, httpbinPod().Name)
	demand := agent.Asker().Demand()
	t.Logf("%+v", demand)
	require.Zero(t, demand.Refused+demand.Missed)
}
