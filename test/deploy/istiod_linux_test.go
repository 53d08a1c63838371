// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	istioSystem = "istio-system"
	istioRoot   = "istio-ca-root-cert" // the config map that istiod writes into every namespace
)

// startIstiod runs a real istiod of the cluster, and returns its address with TLS.
func (c *cluster) startIstiod(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "-C", "../e2e/servers/istiod", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").Output()
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "manifests/charts/base/files/crd-all.gen.yaml"))
	require.NoError(t, err)
	for _, definition := range objects(t, string(content)) {
		require.NoError(t, c.apply(definition, ""))
	}
	_, err = c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: istioSystem}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.client.CoreV1().ConfigMaps(istioSystem).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "istio"}, Data: map[string]string{"mesh": "{}", "meshNetworks": "networks: {}"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	address := func() string { return fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t)) }
	secure, health := address(), address()
	start(t, "http://"+health+"/ready", "/usr/bin/env",
		"PILOT_ENABLE_AMBIENT=true", "CLUSTER_ID=Kubernetes", "POD_NAMESPACE="+istioSystem, "POD_NAME=istiod", "ROOT_CA_DIR="+c.dir, "JWT_POLICY=third-party-jwt",
		"../../.tools/pilot-discovery", "discovery", "--kubeconfig="+c.kubeconfig, "--grpcAddr="+address(), "--secureGRPCAddr="+secure,
		"--httpAddr="+health, "--httpsAddr=", "--monitoringAddr=", "--ctrlz_port=0")
	return secure
}

// istioVolume is one of the volumes that the chart mounts for istiod: a token for it, or the root of its certificate.
func (s *installed) istioVolume(t *testing.T, spec corev1.PodSpec, v corev1.Volume) mount {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	if v.Projected != nil {
		asked := v.Projected.Sources[0].ServiceAccountToken
		token, err := s.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), spec.ServiceAccountName, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: []string{asked.Audience}, ExpirationSeconds: asked.ExpirationSeconds},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		write(asked.Path, token.Status.Token)
	} else {
		require.EventuallyWithT(t, func(a *assert.CollectT) {
			root, err := s.client.CoreV1().ConfigMaps(namespace).Get(t.Context(), v.ConfigMap.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				// Without istiod the pod would wait; the agent itself starts without the file.
				if _, err := s.client.CoreV1().Namespaces().Get(t.Context(), istioSystem, metav1.GetOptions{}); apierrors.IsNotFound(err) {
					return
				}
			}
			require.NoError(a, err)
			for name, content := range root.Data {
				write(name, content)
			}
		}, eventually, tick)
	}
	return mount{from: dir, to: mountPath(t, spec, v.Name), readOnly: true}
}

// TestIstioPreset runs the agent of `identity=istio` against a real istiod, with its token and certificate, and without
// any right in the API server.
func TestIstioPreset(t *testing.T) {
	s := &installed{cluster: newCluster(t), image: buildImage(t), network: testhost.NewNetwork(t)}
	istiod := s.startIstiod(t)
	s.install(t, "identity=istio,agent.receiver.identity.istio.endpoint="+istiod+
		",agent.receiver.identity.istio.tls.server_name_override=istiod.istio-system.svc")
	s.createPod(t, "client", clientAddress)
	s.createPod(t, "server", serverAddress)
	client, server := s.network.Host("client", clientAddress+"/24"), s.network.Host("server", serverAddress+"/24")
	relay := s.gateway(t)
	relay.start()
	answers200(t, "http://"+gatewayAddress+":13133/")
	agents := s.daemonSet(t)
	agent := s.agent(t, agents, thisNode(t))
	agent.start()
	answers200(t, healthOf(agents))
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		_, page := fetch(gatewayPage)
		value, series := sum(page, "otelcol_kmesh_identity_in_sync", `instance="`+nodeName+`"`, `source="istio"`)
		require.Equal(a, 1, series, own(page))
		require.InDelta(a, 1, value, 0)
	}, eventually, tick)
	exchange(t, client, server, 231, 4000)
	requireBytes(t, 231, 4000)
}
