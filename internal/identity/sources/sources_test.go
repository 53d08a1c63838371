// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestAutoIsKubernetesInAPodElseTheHost(t *testing.T) {
	if _, err := os.Stat(serviceAccountToken); err == nil {
		t.Skip("this is a pod")
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1") // set by hand, say
	assert.Equal(t, "host", Select(Auto), "no service account")
	assert.Equal(t, "file", Select("file"))
	assert.Equal(t, []string{"kubernetes", "host"}, Candidates(Auto))
	assert.Equal(t, []string{"file"}, Candidates("file"))
}

func TestEverySourceHasValidDefaults(t *testing.T) {
	configs := NewDefaultConfigs()
	for _, name := range Names()[1:] {
		require.NoError(t, configs[name].Validate(), name)
	}
	for _, name := range Candidates(Auto) {
		assert.Contains(t, configs, name)
	}
	assert.Equal(t, []string{"auto", "file", "host", "istio", "kubernetes"}, Names())
}

func TestTheDefaultsAreNotShared(t *testing.T) {
	first, second := NewDefaultConfigs(), NewDefaultConfigs()
	for _, name := range []string{"file", "istio", "kubernetes"} { // the host's configuration has no size, and no identity
		assert.NotSame(t, first[name], second[name], name)
	}
}

func TestTheCapabilitiesOfEachSource(t *testing.T) {
	got := make(map[string]identity.Capabilities)
	for name, config := range NewDefaultConfigs() {
		got[name] = config.Capabilities()
	}
	assert.Equal(t, map[string]identity.Capabilities{
		"file":       {Services: true, Lists: true},
		"host":       {Processes: true},
		"istio":      {Services: true, Lists: true},
		"kubernetes": {Services: true, Cgroups: true, Lists: true},
	}, got)
}
