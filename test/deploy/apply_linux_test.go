// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var definitionKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// newNamespace creates a namespace in which Pod Security enforces a level.
func (c *cluster) newNamespace(t testing.TB, name, level string) {
	t.Helper()
	_, err := c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// pod makes a pod of a workload's template, as its controller would.
func pod(t testing.TB, workload *unstructured.Unstructured, in string) *unstructured.Unstructured {
	t.Helper()
	require.NotNil(t, workload)
	template, ok, err := unstructured.NestedMap(workload.Object, "spec", "template")
	require.NoError(t, err)
	require.True(t, ok)
	p := &unstructured.Unstructured{Object: template}
	p.SetAPIVersion("v1")
	p.SetKind("Pod")
	p.SetName(workload.GetName())
	p.SetNamespace(in)
	return p
}

func TestAPIServer(t *testing.T) {
	c := newCluster(t)
	c.installDefinitions(t)

	// Each namespace is a fresh one: objects of a former preset would hide what this one lacks.
	for name, values := range presets {
		t.Run("applies "+name, func(t *testing.T) {
			in := "preset-" + name
			c.newNamespace(t, in, "privileged")
			manifest, err := helm("template", release, chart, "--namespace", in, "--set", values)
			require.NoError(t, err)
			all := objects(t, manifest)
			require.Greater(t, len(all), 3)
			for _, object := range all {
				require.NoError(t, c.apply(object, in), "%s %s", object.GetKind(), object.GetName())
			}
			if gateway := find(all, "Deployment", gateway); gateway != nil {
				require.NoError(t, c.dryRun(pod(t, gateway, in)))
			}
			if agents := find(all, "DaemonSet", release); agents != nil && name != "everything" { // that waits for its quota
				require.NoError(t, c.dryRun(pod(t, agents, in)))
			}
		})
	}

	files, err := filepath.Glob(filepath.Join(rendered, "otelcol-kmesh*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, file := range files {
		t.Run("applies "+filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, object := range objects(t, string(content)) {
				require.NoError(t, c.apply(object, namespace), "%s %s", object.GetKind(), object.GetName())
			}
		})
	}

	t.Run("validation is strict", func(t *testing.T) {
		wrong := find(render(t, ""), "DaemonSet", release)
		require.NoError(t, unstructured.SetNestedField(wrong.Object, true, "spec", "template", "spec", "hostPid"))
		require.ErrorContains(t, c.apply(wrong, namespace), "hostPid")
		wrong = find(render(t, "operator.enabled=true"), "OpenTelemetryCollector", release)
		require.NoError(t, unstructured.SetNestedField(wrong.Object, "everywhere", "spec", "mode"))
		require.ErrorContains(t, c.apply(wrong, namespace), "mode")
	})

	t.Run("gateway is restricted, agent is not", func(t *testing.T) {
		c.newNamespace(t, "restricted", "restricted")
		all := render(t, "")
		require.NoError(t, c.dryRun(pod(t, find(all, "Deployment", gateway), "restricted")))
		require.ErrorContains(t, c.dryRun(pod(t, find(all, "DaemonSet", release), "restricted")), "violates PodSecurity")
	})

	t.Run("a class of the system's needs the quota", func(t *testing.T) {
		all := render(t, everything)
		c.newNamespace(t, "quota", "privileged")
		agent := pod(t, find(all, "DaemonSet", release), "quota")
		require.ErrorContains(t, c.dryRun(agent), "insufficient quota to match these scopes")

		quota := find(all, "ResourceQuota", release)
		quota.SetNamespace("quota")
		require.NoError(t, c.apply(quota, "quota"))
		made, err := c.client.CoreV1().ResourceQuotas("quota").Get(t.Context(), release, metav1.GetOptions{})
		require.NoError(t, err)
		// The controller does this.
		made.Status = corev1.ResourceQuotaStatus{Hard: made.Spec.Hard, Used: corev1.ResourceList{}}
		for name := range made.Spec.Hard {
			made.Status.Used[name] = resource.MustParse("0")
		}
		_, err = c.client.CoreV1().ResourceQuotas("quota").UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
		require.NoError(t, err)
		// Admission caches quotas; it asks again within seconds.
		require.EventuallyWithT(t, func(a *assert.CollectT) { require.NoError(a, c.dryRun(agent)) }, eventually, tick)
	})
}
