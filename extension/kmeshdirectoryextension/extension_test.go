// SPDX-License-Identifier: Apache-2.0

package kmeshdirectoryextension

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/kmesh-net/otelcol-kmesh/extension/kmeshdirectoryextension/internal/metadata"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
)

const (
	within = 30 * time.Second
	often  = 5 * time.Millisecond
)

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	var listener net.Listener
	require.Eventually(t, func() bool {
		var err error
		listener, err = net.Listen("tcp", address)
		return err == nil
	}, within, often)
	return listener
}

// host is a collector that keeps what is reported to it.
type host struct {
	component.Host
	mu     sync.Mutex
	events []*componentstatus.Event
}

func (h *host) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *host) status() componentstatus.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) == 0 {
		return componentstatus.StatusNone
	}
	return h.events[len(h.events)-1].Status()
}

func startDirectory(t testing.TB, endpoint string) (*directoryExtension, *host) {
	t.Helper()
	config := createDefaultConfig().(*Config)
	config.NetAddr.Endpoint = endpoint
	config.Kubernetes.AuthType = kubernetes.AuthKubeConfig
	require.NoError(t, config.Validate())
	e, err := NewFactory().Create(context.Background(), extensiontest.NewNopSettings(metadata.Type), config)
	require.NoError(t, err)
	h := &host{Host: componenttest.NewNopHost()}
	require.NoError(t, e.Start(context.Background(), h))
	t.Cleanup(func() { require.NoError(t, e.Shutdown(context.Background())) })
	return e.(*directoryExtension), h
}

// agent is a source that asks the directory.
type agent struct {
	*istio.Source
	t testing.TB
}

func startAgent(t testing.TB, endpoint, node string) *agent {
	t.Helper()
	config := istio.NewDefaultConfig()
	config.Endpoint, config.OnDemand, config.TLS.Insecure = endpoint, true, true
	require.NoError(t, config.Validate())
	a := &agent{istio.New(config, identity.SourceSettings{NodeName: node, Retain: time.Minute, Settle: 5 * time.Second}), t}
	require.NoError(t, a.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

func (a *agent) who(address string, at time.Time) string {
	w, _ := a.Resolve(identity.End{Address: netip.AddrPortFrom(netip.MustParseAddr(address), 80)}, at)
	if w == nil {
		return "nobody"
	}
	return w.Name
}

func (a *agent) becomes(address, want string) {
	a.t.Helper()
	require.Eventually(a.t, func() bool { return a.who(address, time.Now()) == want }, within, often, "%s should be %s", address, want)
}

func TestAnAgentResolvesThroughTheDirectory(t *testing.T) {
	api := startAPIServer(t)
	api.create("own", "node-1", "10.0.0.1")
	api.create("elsewhere", "node-2", "10.0.0.2")
	d, h := startDirectory(t, "127.0.0.1:0")
	a := startAgent(t, d.address, "node-1")
	require.Eventually(t, a.InSync, within, often)
	require.Equal(t, "own", a.who("10.0.0.1", time.Now()), "without being asked for")
	a.becomes("10.0.0.2", "elsewhere")
	w, _ := a.Resolve(identity.End{Address: netip.MustParseAddrPort("10.0.0.2:80")}, time.Now())
	require.Equal(t, identity.Names{
		Workload: "elsewhere", CanonicalService: "elsewhere", CanonicalRevision: "latest", Namespace: "default", Principal: "-", Cluster: "Kubernetes",
	}, w.Names.Value())

	// Who waits for an address is sent it when somebody gets it.
	a.becomes("10.0.0.3", "nobody")
	require.Eventually(t, func() bool { return a.Asker().Demand().Unknown == 1 }, within, often)
	api.create("new", "node-2", "10.0.0.3")
	a.becomes("10.0.0.3", "new")
	ofNew := time.Now()
	api.delete("new")
	a.becomes("10.0.0.3", "nobody")
	api.create("newer", "node-2", "10.0.0.3")
	a.becomes("10.0.0.3", "newer")
	require.Equal(t, "new", a.who("10.0.0.3", ofNew))
	require.Equal(t, componentstatus.StatusNone, h.status())
}

func TestAnAgentKeepsItsNamesOverARestartOfTheDirectory(t *testing.T) {
	api := startAPIServer(t)
	longAgo := time.Now().Add(-time.Minute)
	api.createReady("stays", "node-2", "10.0.0.2", longAgo)
	api.createReady("goes", "node-2", "10.0.0.3", longAgo)
	d, _ := startDirectory(t, "127.0.0.1:0")
	address := d.address
	a := startAgent(t, address, "node-1")
	a.becomes("10.0.0.2", "stays")
	a.becomes("10.0.0.3", "goes")
	known := time.Now().Add(-10 * time.Second) // what came last before the end may have been missed
	require.NoError(t, d.Shutdown(context.Background()))
	require.NoError(t, d.Shutdown(context.Background()))
	require.Eventually(t, func() bool { return !a.InSync() }, within, often)
	require.Equal(t, "stays", a.who("10.0.0.2", known), "it began while all was known")
	api.delete("goes")
	api.create("comes", "node-2", "10.0.0.3")
	startDirectory(t, address)
	a.becomes("10.0.0.3", "comes")
	a.becomes("10.0.0.2", "stays")
	require.Equal(t, "goes", a.who("10.0.0.3", known))
}

func TestNobodyIsServedWithoutTheAPIServer(t *testing.T) {
	api := startAPIServer(t)
	api.create("a", "node-2", "10.0.0.2")
	d, h := startDirectory(t, "127.0.0.1:0")
	a := startAgent(t, d.address, "node-1")
	a.becomes("10.0.0.2", "a")
	api.stop()
	require.Eventually(t, func() bool { return !a.InSync() }, within, often)
	require.Eventually(t, func() bool { return h.status() == componentstatus.StatusRecoverableError }, within, often)
	api.create("b", "node-2", "10.0.0.3")
	require.Equal(t, "nobody", a.who("10.0.0.3", time.Now()))
	api.restart()
	a.becomes("10.0.0.3", "b")
	a.becomes("10.0.0.2", "a")
	require.Eventually(t, func() bool { return h.status() == componentstatus.StatusOK }, within, often)
}

func TestManyAgentsAreServedAtOnce(t *testing.T) {
	api := startAPIServer(t)
	for i := range 50 {
		api.create(fmt.Sprintf("pod-%d", i), fmt.Sprintf("node-%d", i), fmt.Sprintf("10.0.1.%d", i))
	}
	d, _ := startDirectory(t, "127.0.0.1:0")
	var all sync.WaitGroup
	for i := range 20 {
		a := startAgent(t, d.address, fmt.Sprintf("node-%d", i))
		all.Go(func() {
			for p := range 50 {
				a.becomes(fmt.Sprintf("10.0.1.%d", p), fmt.Sprintf("pod-%d", p))
			}
		})
	}
	all.Wait()
	require.Equal(t, 20, d.stats().Agents)
}

func TestAStartThatFailsSaysWhatToDo(t *testing.T) {
	t.Setenv("KUBECONFIG", "/does/not/exist")
	config := createDefaultConfig().(*Config)
	config.Kubernetes.AuthType = kubernetes.AuthKubeConfig
	e, err := NewFactory().Create(context.Background(), extensiontest.NewNopSettings(metadata.Type), config)
	require.NoError(t, err)
	err = e.Start(context.Background(), componenttest.NewNopHost())
	require.ErrorContains(t, err, "kubernetes.auth_type kubeConfig")
	require.NotContains(t, err.Error(), "identity.")

	startAPIServer(t)
	taken := listen(t, "127.0.0.1:0")
	defer func() { _ = taken.Close() }()
	config.NetAddr.Endpoint = taken.Addr().String()
	e, err = NewFactory().Create(context.Background(), extensiontest.NewNopSettings(metadata.Type), config)
	require.NoError(t, err)
	require.ErrorContains(t, e.Start(context.Background(), componenttest.NewNopHost()), "endpoint")
}
