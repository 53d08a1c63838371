//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
)

func TestAutoIsTheHostOutsideAPod(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1") // set by hand, say
	if sources.Select(sources.Auto) != "host" {
		t.Skip("this is a pod")
	}
	c := createDefaultConfig().(*Config)
	require.Equal(t, flow.ScopeAll, c.scope())
	source, err := newSource(&c.Identity, "", "node-1", zap.NewNop(), nil)
	require.NoError(t, err)
	require.IsType(t, &host.Source{}, source)
	require.NoError(t, source.Close())
}

func TestTheKubernetesSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`{clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}],
		contexts: [{name: x, context: {cluster: c}}], current-context: x}`), 0o600))
	t.Setenv("KUBECONFIG", path)
	c := createDefaultConfig().(*Config)
	c.Identity.Source = "kubernetes"
	config := c.Identity.Sources["kubernetes"].(*kubernetes.Config)
	config.AuthType = "kubeConfig"
	require.NoError(t, c.Validate())
	source, err := newSource(&c.Identity, "", "node", zap.NewNop(), func(error) {})
	require.NoError(t, err)
	require.IsType(t, &kubernetes.Source{}, source)
	require.NoError(t, source.Close())
	require.Equal(t, flow.ScopeKnown, c.scope())

	*config = kubernetes.Config{AuthType: "token"}
	for _, name := range []string{"kubernetes", "auto"} {
		c.Identity.Source = name
		require.ErrorContains(t, c.Validate(), "identity.kubernetes.auth_type")
		require.ErrorContains(t, c.Validate(), "identity.kubernetes.cluster_id is empty")
		require.ErrorContains(t, c.Validate(), "identity.kubernetes.cluster_domain is empty")
	}
}

func TestTheIstioSource(t *testing.T) {
	c := createDefaultConfig().(*Config)
	c.Identity.Source = "istio"
	require.NoError(t, c.Validate())
	source, err := newSource(&c.Identity, "", "node", zap.NewNop(), func(error) {})
	require.NoError(t, err)
	require.IsType(t, &istio.Source{}, source)
	require.NoError(t, source.Close())
	require.Equal(t, flow.ScopeKnown, c.scope())

	*c.Identity.Sources["istio"].(*istio.Config) = istio.Config{}
	require.ErrorContains(t, c.Validate(), "identity.istio.endpoint is empty")
	require.ErrorContains(t, c.Validate(), "identity.istio.cluster_id is empty")
}

// statusHost keeps what a component reports.
type statusHost struct{ events []*componentstatus.Event }

func (*statusHost) GetExtensions() map[component.ID]component.Component { return nil }
func (h *statusHost) Report(e *componentstatus.Event)                   { h.events = append(h.events, e) }

func TestHealthTellsEachChangeOnce(t *testing.T) {
	var h health
	host := &statusHost{}
	h.add(host)
	say := h.part("identity")
	for _, err := range []error{nil, errors.New("a"), errors.New("a"), errors.New("b"), nil, nil} {
		say(err)
	}
	var told []string
	for _, e := range host.events {
		if e.Err() == nil {
			told = append(told, e.Status().String())
			continue
		}
		told = append(told, e.Err().Error())
	}
	require.Equal(t, []string{"a", "b", "StatusOK"}, told)
}

func TestWithoutCgroupsThereIsOneWarning(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	require.Nil(t, openCgroups(filepath.Join(t.TempDir(), "none"), zap.New(core)))
	require.Equal(t, 1, logged.Len())
	require.Equal(t, zap.WarnLevel, logged.All()[0].Level)
	require.Contains(t, logged.All()[0].Message, "cgroup_path")
}
