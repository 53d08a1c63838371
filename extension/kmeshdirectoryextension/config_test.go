// SPDX-License-Identifier: Apache-2.0

package kmeshdirectoryextension

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
)

func TestEveryKeyIsRead(t *testing.T) {
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	conf, err := all.Sub("kmesh_directory")
	require.NoError(t, err)
	config := createDefaultConfig().(*Config)
	require.NoError(t, conf.Unmarshal(config))
	want := createDefaultConfig().(*Config)
	want.NetAddr.Endpoint = "0.0.0.0:15010"
	want.MaxAddresses = 10_000
	want.Kubernetes = kubernetes.Config{
		AuthType: kubernetes.AuthKubeConfig, Context: "kind", ClusterID: "east", ClusterDomain: "corp.example", TrustDomain: "mesh.example",
	}
	want.TLS = configoptional.Some(configtls.ServerConfig{Config: configtls.Config{CertFile: "tls.crt", KeyFile: "tls.key"}})
	require.Equal(t, want, config)
	require.NoError(t, config.Validate())
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	config := createDefaultConfig().(*Config)
	require.NoError(t, config.Validate())
	config.NetAddr.Endpoint, config.MaxAddresses = "", 0
	config.Kubernetes.AuthType = "password"
	err := config.Validate()
	require.ErrorContains(t, err, "endpoint is empty")
	require.ErrorContains(t, err, "max_addresses is 0")
	require.ErrorContains(t, err, `kubernetes.auth_type is "password"`)
	require.NotContains(t, err.Error(), "identity.")
}

func TestTheReadmeHasEveryKey(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, key := range []string{"`endpoint`", "`tls`", "`auth`", "`keepalive`", "`kubernetes`", "`max_addresses`", "`max_recv_msg_size_mib`"} {
		require.Contains(t, string(readme), key)
	}
}
