// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/cgroup"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
)

// sourceOf makes the source of a configuration, and closes it.
func sourceOf(t *testing.T, config identity.SourceConfig) identity.Source {
	t.Helper()
	settings, _ := newSettings(nil, nil)
	settings.Identity.Source = config
	source, err := newSource(&settings.Settings)
	require.NoError(t, err)
	require.NoError(t, source.Close())
	return source
}

func TestTheHostSource(t *testing.T) {
	require.IsType(t, &host.Source{}, sourceOf(t, host.NewDefaultConfig()))
}

func TestTheKubernetesSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`{clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}],
		contexts: [{name: x, context: {cluster: c}}], current-context: x}`), 0o600))
	t.Setenv("KUBECONFIG", path)
	config := kubernetes.NewDefaultConfig()
	config.AuthType = kubernetes.AuthKubeConfig
	require.IsType(t, &kubernetes.Source{}, sourceOf(t, config))
}

func TestTheIstioSource(t *testing.T) {
	require.IsType(t, &istio.Source{}, sourceOf(t, istio.NewDefaultConfig()))
}

func TestTheScopeFollowsTheSource(t *testing.T) {
	for _, test := range []struct {
		source, scope string
		want          naming.Scope
	}{
		{"host", "", naming.ScopeAll},
		{"file", "", naming.ScopeKnown},
		{"kubernetes", "", naming.ScopeKnown},
		{"istio", "", naming.ScopeKnown},
		{"host", ScopeKnown, naming.ScopeKnown},
		{"file", ScopeAll, naming.ScopeAll},
	} {
		settings, _ := newSettings(nil, nil)
		settings.Identity.Source, settings.Scope = sources.NewDefaultConfigs()[test.source], test.scope
		assert.Equal(t, test.want, settings.scope(), test)
	}
}

func TestWhichSourcesNeedTheProcess(t *testing.T) {
	for name, want := range map[string]bool{"host": true, "file": false, "istio": false, "kubernetes": cgroup.ByProcess()} {
		assert.Equal(t, want, namesProcesses(sources.NewDefaultConfigs()[name].Capabilities()), name)
	}
}

func TestWithoutCgroupsThereIsOneWarning(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	require.Nil(t, openCgroups(filepath.Join(t.TempDir(), "none"), zap.New(core)))
	require.Equal(t, 1, logged.Len())
	require.Equal(t, zap.WarnLevel, logged.All()[0].Level)
	require.Contains(t, logged.All()[0].Message, "cgroup_path")
}
