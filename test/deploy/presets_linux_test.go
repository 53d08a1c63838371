// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// TestPresetsRun upgrades one release from preset to preset, and each time runs the agent and the gateway as the API
// server has them: the image, the configuration, the rights of their own service accounts.
func TestPresetsRun(t *testing.T) {
	s := &installed{cluster: newCluster(t), image: buildImage(t), network: testhost.NewNetwork(t)}
	s.installDefinitions(t)
	s.install(t, "")
	for _, name := range slices.Sorted(maps.Keys(presets)) {
		t.Run(name, func(t *testing.T) {
			out, err := helm("upgrade", release, chart, "--namespace", namespace, "--kubeconfig", s.kubeconfig, "--reset-values",
				"--set", strings.TrimPrefix(presets[name]+",agent.telemetry.scrape=true", ","))
			require.NoError(t, err, out)

			_, err = s.client.AppsV1().Deployments(namespace).Get(t.Context(), gateway, metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				require.NoError(t, err)
				relay := s.gateway(t)
				relay.start()
				answers200(t, "http://"+gatewayAddress+":13133/")
				defer relay.kill()
				if name == "map" {
					s.requireMap(t)
				}
			}

			spec, configuration := s.agentSpec(t)
			source := "kubernetes"
			if name == "directory" { // the gateway asks for the agents
				source = "istio"
				edit(t, configuration, directoryName+":"+directoryPort, gatewayAddress+":"+directoryPort)
			}
			agent := s.agentOf(t, spec, configuration, thisNode(t))
			agent.start()
			defer agent.kill()
			answers200(t, fmt.Sprintf("http://127.0.0.1:%d/", healthPort))
			if name == "istio" { // nobody answers here: TestIstioPreset
				return
			}
			require.EventuallyWithT(t, func(a *assert.CollectT) {
				_, page := fetch(fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetryPort))
				value, series := sum(page, "otelcol_kmesh_identity_in_sync", `source="`+source+`"`)
				require.Equal(a, 1, series)
				require.InDelta(a, 1, value, 0, "its rights suffice")
			}, eventually, tick)
		})
	}
}

// agentSpec returns the pod and the configuration of the agents: the DaemonSet's, or what the OpenTelemetry operator makes
// of its resource.
func (s *installed) agentSpec(t *testing.T) (corev1.PodSpec, mount) {
	t.Helper()
	agents, err := s.client.AppsV1().DaemonSets(namespace).Get(t.Context(), release, metav1.GetOptions{})
	if err == nil {
		return agents.Spec.Template.Spec, s.configuration(t, release)
	}
	require.True(t, apierrors.IsNotFound(err), err)
	resource, err := s.dynamic.Resource(schema.GroupVersionResource{Group: "opentelemetry.io", Version: "v1beta1", Resource: "opentelemetrycollectors"}).
		Namespace(namespace).Get(t.Context(), release, metav1.GetOptions{})
	require.NoError(t, err)
	collector, _, err := unstructured.NestedMap(resource.Object, "spec")
	require.NoError(t, err)

	content, err := yaml.Marshal(collector["config"])
	require.NoError(t, err)
	dir := t.TempDir()
	readable(t, dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), content, 0o644))

	container := map[string]any{"name": "otc-container", "args": []any{"--config=/etc/otelcol-kmesh/config.yaml"}}
	for key, value := range collector["args"].(map[string]any) {
		container["args"] = append(container["args"].([]any), fmt.Sprintf("--%s=%s", key, value))
	}
	for _, key := range []string{"env", "resources", "securityContext", "volumeMounts"} {
		container[key] = collector[key]
	}
	pod := as[corev1.PodSpec](t, &unstructured.Unstructured{Object: map[string]any{
		"containers": []any{container}, "volumes": collector["volumes"],
		"hostNetwork": collector["hostNetwork"], "serviceAccountName": collector["serviceAccount"],
	}})
	return pod, mount{from: dir, to: "/etc/otelcol-kmesh", readOnly: true}
}

// requireMap asks for the live map as kubectl port-forward does: from inside the pod's network.
func (s *installed) requireMap(t *testing.T) {
	t.Helper()
	var conn net.Conn
	var err error
	s.relay.Do(func() { conn, err = net.Dial("tcp4", "127.0.0.1:9465") })
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET / HTTP/1.0\r\nHost: localhost:9465\r\n\r\n")
	require.NoError(t, err)
	page, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Regexp(t, `^HTTP/1.[01] 200 (?s:.*)<html`, string(page))
}
