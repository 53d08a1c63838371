// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	istiodPath   = "../../.tools/pilot-discovery"
	istiodModule = "servers/istiod"
	istioSystem  = "istio-system"
)

// istiod is a real istiod of a cluster, which sends the cluster's pods and services to ztunnels.
type istiod struct {
	program
	plain  string // its address without encryption
	secure string // its address with TLS, by its own certificate
}

// newIstiod makes what istiod needs in the cluster, whose API server runs.  istiod does not run yet.
func newIstiod(t testing.TB, c *cluster) *istiod {
	t.Helper()
	c.createIstioResources(t)
	c.create(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: istioSystem}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "istio", Namespace: istioSystem}, Data: map[string]string{"mesh": "{}", "meshNetworks": "networks: {}"}})
	kubeconfig, token := c.kubeconfig(t, "istiod")
	require.NoError(t, os.WriteFile(token, []byte(adminToken), 0o600))
	d := &istiod{
		plain:  fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t)),
		secure: fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t)),
	}
	health := fmt.Sprintf("127.0.0.1:%d", testhost.FreePort(t))
	d.program = program{
		name: "istiod",
		path: istiodPath,
		args: []string{
			"discovery", "--kubeconfig=" + kubeconfig, "--grpcAddr=" + d.plain, "--secureGRPCAddr=" + d.secure,
			"--httpAddr=" + health, "--httpsAddr=", "--monitoringAddr=", "--ctrlz_port=0",
		},
		env: []string{
			"PILOT_ENABLE_AMBIENT=true", "CLUSTER_ID=Kubernetes", "POD_NAMESPACE=" + istioSystem, "POD_NAME=istiod",
			"ROOT_CA_DIR=" + c.dir, "JWT_POLICY=third-party-jwt",
		},
		ready: "http://" + health + "/ready",
	}
	return d
}

// createIstioResources makes the definitions of Istio's own kinds, from the module that istiod was built of.
func (c *cluster) createIstioResources(t testing.TB) {
	t.Helper()
	cmd := exec.Command("go", "-C", istiodModule, "list", "-m", "-f", "{{.Dir}}", "istio.io/istio")
	out, err := cmd.Output()
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "manifests/charts/base/files/crd-all.gen.yaml"))
	require.NoError(t, err)
	made := 0
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		definition, err := yaml.ToJSON([]byte(document))
		require.NoError(t, err)
		if string(definition) == "null" {
			continue
		}
		var code int
		require.NoError(t, c.client.CoreV1().RESTClient().Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").
			SetHeader("Content-Type", "application/json").Body(definition).Do(context.Background()).StatusCode(&code).Error())
		require.Equal(t, http.StatusCreated, code)
		made++
	}
	require.NotZero(t, made)
}
