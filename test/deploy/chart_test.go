// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const (
	chart     = "../../deploy/helm/otelcol-kmesh"
	rendered  = "../../deploy/kubernetes"
	helmPath  = "../../.tools/helm"
	release   = "otelcol-kmesh"
	namespace = "kmesh-telemetry"
	gateway   = release + "-gateway"
)

// presets are the combinations of values that the chart supports, by the name of their test.
var presets = map[string]string{
	"default":    "",
	"istio":      "identity=istio",
	"gke":        "platform=gke",
	"openshift":  "platform=openshift",
	"talos":      "platform=talos",
	"operator":   "operator.enabled=true",
	"everything": everything,
	"replicas":   "gateway.replicas=2,gateway.prometheus.scrape=false,gateway.prometheus.remoteWrite=http://prometheus:9090/api/v1/write",
	"routing":    routing,
	"volume":     "gateway.queue.storage=persistentVolumeClaim,agent.queue.storage=emptyDir",
	"memory":     "gateway.queue.storage=memory,agent.queue.storage=memory",
	"monitoring": "monitoring.serviceMonitor=true,monitoring.podMonitor=true,monitoring.rules=true,monitoring.workloadRules=true,monitoring.costRules=true,monitoring.dashboards.enabled=true,agent.telemetry.scrape=true,monitoring.labels.release=prometheus",
	"map":        "map.enabled=true",
	"directory":  directory,
	"external":   "gateway.enabled=false,agent.endpoint=otlp.example:4317,agent.tls.insecure=false",
}

// routing spreads the nodes over several gateways.
const routing = "gateway.routing=node,gateway.replicas=3,gateway.prometheus.scrape=false,gateway.prometheus.remoteWrite=http://prometheus:9090/api/v1/write"

// directory names the ends of connections in the gateway, for agents without rights.
const directory = "directory.enabled=true,gateway.prometheus.scrape=false,gateway.prometheus.remoteWrite=http://prometheus:9090/api/v1/write"

// everything switches on each optional object and exporter that needs nothing beyond Kubernetes.
const everything = "agent.priorityClassName=system-node-critical,agent.telemetry.scrape=true,agent.seccompProfile=RuntimeDefault," +
	"agent.appArmorProfile=RuntimeDefault,gateway.debug=true,gateway.loki=http://loki:3100/otlp,gateway.otlp.endpoint=backend:4317," +
	"gateway.prometheus.remoteWrite=http://prometheus:9090/api/v1/write,networkPolicy.from={10.0.0.0/8}"

func TestMain(m *testing.M) {
	if _, err := os.Stat(helmPath); err != nil {
		build := exec.Command("make", "-C", "../..", ".tools/helm")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			panic("build helm: " + err.Error())
		}
	}
	os.Exit(m.Run())
}

// helm runs helm and returns its standard output; the error holds what it printed to standard error.
func helm(args ...string) (string, error) {
	cmd := exec.Command(helmPath, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String(), errors.New(stderr.String())
	}
	return out.String(), nil
}

// template renders the chart with values as `--set` takes them.
func template(values string) (string, error) {
	return helm("template", release, chart, "--namespace", namespace, "--set", values)
}

// objects decodes the documents of a manifest.
func objects(t testing.TB, manifest string) []*unstructured.Unstructured {
	t.Helper()
	documents := kubeyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
	var all []*unstructured.Unstructured
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		content := map[string]any{}
		require.NoError(t, kubeyaml.UnmarshalStrict(document, &content), "%s", document)
		if len(content) > 0 { // else a document of comments
			all = append(all, &unstructured.Unstructured{Object: content})
		}
	}
}

func render(t testing.TB, values string) []*unstructured.Unstructured {
	t.Helper()
	manifest, err := template(values)
	require.NoError(t, err)
	return objects(t, manifest)
}

func find(all []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	for _, o := range all {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	return nil
}

// as converts an object to a Kubernetes type; a field that the type does not have is an error.
func as[T any](t testing.TB, object *unstructured.Unstructured) T {
	t.Helper()
	var to T
	require.NotNil(t, object)
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &to, true))
	return to
}

func daemonSet(t testing.TB, values string) appsv1.DaemonSet {
	t.Helper()
	return as[appsv1.DaemonSet](t, find(render(t, values), "DaemonSet", release))
}

// configuration returns a collector's configuration: of the agent (release) or of the gateway.
func configuration(t testing.TB, all []*unstructured.Unstructured, name string) map[string]any {
	t.Helper()
	config := as[corev1.ConfigMap](t, find(all, "ConfigMap", name))
	var content map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(config.Data["config.yaml"]), &content))
	return content
}

func pipelines(t testing.TB, config map[string]any) map[string]any {
	t.Helper()
	found, ok, err := unstructured.NestedFieldNoCopy(config, "service", "pipelines")
	require.NoError(t, err)
	require.True(t, ok)
	return found.(map[string]any)
}

func TestRenderedManifestsAreCurrent(t *testing.T) {
	now := t.TempDir()
	out, err := exec.Command(filepath.Join(rendered, "render.sh"), now).CombinedOutput()
	require.NoError(t, err, "%s", out)
	want, err := filepath.Glob(filepath.Join(now, "*.yaml"))
	require.NoError(t, err)
	have, err := filepath.Glob(filepath.Join(rendered, "*.yaml"))
	require.NoError(t, err)
	require.Len(t, have, len(want), "a file that render.sh does not write")
	for _, path := range want {
		name := filepath.Base(path)
		fresh, err := os.ReadFile(path)
		require.NoError(t, err)
		committed, err := os.ReadFile(filepath.Join(rendered, name))
		require.NoError(t, err)
		require.Equal(t, string(fresh), string(committed), "%s is not current: run `make manifests`", name)
	}
}

func TestChartPassesItsLint(t *testing.T) {
	for name, values := range presets {
		out, err := helm("lint", "--strict", chart, "--set", values)
		require.NoError(t, err, "%s: %s", name, out)
	}
}

func TestAgentsRunOnLinuxNodesOnly(t *testing.T) {
	for name, values := range presets {
		t.Run(name, func(t *testing.T) {
			all := render(t, values)
			var spec map[string]any
			var err error
			if agents := find(all, "DaemonSet", release); agents != nil {
				spec, _, err = unstructured.NestedMap(agents.Object, "spec", "template", "spec")
			} else {
				spec, _, err = unstructured.NestedMap(find(all, "OpenTelemetryCollector", release).Object, "spec")
			}
			require.NoError(t, err)
			selector, _, err := unstructured.NestedStringMap(spec, "nodeSelector")
			require.NoError(t, err)
			require.Equal(t, map[string]string{"kubernetes.io/os": "linux"}, selector)
			text, err := json.Marshal(spec["affinity"])
			require.NoError(t, err)
			require.Contains(t, string(text), `{"key":"kubernetes.io/arch","operator":"In","values":["amd64","arm64"]}`)
			require.Equal(t, true, spec["hostNetwork"])
			if name != "operator" { // the operator's resource has no such field
				require.Equal(t, true, spec["hostPID"])
			}
		})
	}
}

func TestNodeSelectorCannotAdmitWindows(t *testing.T) {
	spec := daemonSet(t, `agent.nodeSelector.kubernetes\.io/os=windows,agent.nodeSelector.pool=blue`).Spec.Template.Spec
	require.Equal(t, map[string]string{"kubernetes.io/os": "linux", "pool": "blue"}, spec.NodeSelector)
}

func TestPriorityClassBringsItsQuota(t *testing.T) {
	require.Empty(t, daemonSet(t, "").Spec.Template.Spec.PriorityClassName)
	require.Nil(t, find(render(t, ""), "ResourceQuota", release))

	all := render(t, "agent.priorityClassName=system-node-critical")
	require.Equal(t, "system-node-critical", as[appsv1.DaemonSet](t, find(all, "DaemonSet", release)).Spec.Template.Spec.PriorityClassName)
	quota := as[corev1.ResourceQuota](t, find(all, "ResourceQuota", release))
	require.Equal(t, []string{"system-node-critical"}, quota.Spec.ScopeSelector.MatchExpressions[0].Values)

	require.Nil(t, find(render(t, "agent.priorityClassName=mine"), "ResourceQuota", release), "no quota for a class of the user's")
}

func TestRolloutReplacesOneAgentAtATime(t *testing.T) {
	agents := daemonSet(t, "")
	rolling := agents.Spec.UpdateStrategy.RollingUpdate
	require.Equal(t, "1", rolling.MaxUnavailable.String())
	require.Equal(t, "0", rolling.MaxSurge.String(), "a second agent on a node is refused")
	require.Positive(t, agents.Spec.MinReadySeconds)
}

func TestChangedConfigurationRollsOut(t *testing.T) {
	const checksum = "checksum/config"
	before, same, after := daemonSet(t, ""), daemonSet(t, ""), daemonSet(t, "agent.receiver.workload_metrics.enabled=true")
	require.Equal(t, before.Spec.Template.Annotations[checksum], same.Spec.Template.Annotations[checksum])
	require.NotEqual(t, before.Spec.Template.Annotations[checksum], after.Spec.Template.Annotations[checksum])

	deployment := func(values string) string {
		return as[appsv1.Deployment](t, find(render(t, values), "Deployment", gateway)).Spec.Template.Annotations[checksum]
	}
	require.NotEqual(t, deployment(""), deployment("gateway.debug=true"))
}

func TestAgentsSendToTheGatewayThatTheChartMakes(t *testing.T) {
	all := render(t, "")
	env := map[string]string{}
	for _, e := range as[appsv1.DaemonSet](t, find(all, "DaemonSet", release)).Spec.Template.Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	require.Equal(t, gateway+"."+namespace+".svc:4317", env["GATEWAY"])

	service := as[corev1.Service](t, find(all, "Service", gateway))
	require.Equal(t, int32(4317), service.Spec.Ports[0].Port)
	pods := as[appsv1.Deployment](t, find(all, "Deployment", gateway)).Spec.Template.Labels
	for key, value := range service.Spec.Selector {
		require.Equal(t, value, pods[key], key)
	}
	agents := as[appsv1.DaemonSet](t, find(all, "DaemonSet", release)).Spec.Template.Labels
	require.NotEqual(t, service.Spec.Selector["app.kubernetes.io/component"], agents["app.kubernetes.io/component"],
		"the service must not select agents")
}

// A node stays with one of the gateways, which it finds by a Service without an address of its own.
func TestRoutingByNode(t *testing.T) {
	all := render(t, routing+",agent.tls.insecure=false,gateway.debug=true")
	service := as[corev1.Service](t, find(all, "Service", gateway+"-replicas"))
	require.Equal(t, corev1.ClusterIPNone, service.Spec.ClusterIP)
	require.Equal(t, as[corev1.Service](t, find(all, "Service", gateway)).Spec.Selector, service.Spec.Selector)
	require.False(t, service.Spec.PublishNotReadyAddresses)
	require.EqualValues(t, 3, *as[appsv1.Deployment](t, find(all, "Deployment", gateway)).Spec.Replicas)

	config := configuration(t, all, release)
	exporters := config["exporters"].(map[string]any)
	require.Len(t, exporters, 1)
	exporter := exporters["load_balancing"].(map[string]any)
	require.Equal(t, "resource", exporter["routing_key"])
	require.Equal(t, map[string]any{"dns": map[string]any{"hostname": service.Name + "." + namespace + ".svc", "port": "4317"}}, exporter["resolver"])
	off := map[string]any{"enabled": false}
	require.Equal(t, map[string]any{"otlp": map[string]any{"tls": map[string]any{"insecure": false}, "sending_queue": off, "retry_on_failure": off}},
		exporter["protocol"], "one queue for all gateways")
	for signal, pipeline := range pipelines(t, config) {
		require.Equal(t, []any{"load_balancing"}, pipeline.(map[string]any)["exporters"], signal)
	}

	// The queue and the retries are those of one address, where they have a default there.
	one := configuration(t, render(t, ""), release)["exporters"].(map[string]any)["otlp_grpc"].(map[string]any)
	require.Equal(t, one["sending_queue"], exporter["sending_queue"])
	for key, value := range one["retry_on_failure"].(map[string]any) {
		require.Equal(t, value, exporter["retry_on_failure"].(map[string]any)[key], key)
	}
	require.Equal(t, true, exporter["retry_on_failure"].(map[string]any)["enabled"])
	require.Nil(t, find(render(t, ""), "Service", gateway+"-replicas"))
}

// An access log that nobody stores is not sent, and the notes say so.
func TestAccessLogNeedsAnExporter(t *testing.T) {
	for values, want := range map[string]bool{
		"":                                   false,
		"gateway.loki=http://loki:3100/otlp": true,
		"gateway.otlp.endpoint=backend:4317": true,
		"gateway.debug=true":                 true,
		"map.enabled=true":                   true,
		"agent.endpoint=otlp.example:4317":   true,
		"gateway.debug=true,agent.accessLog.enabled=false": false,
	} {
		_, has := pipelines(t, configuration(t, render(t, values), release))["logs"]
		require.Equal(t, want, has, values)
	}
}

func TestMapIsAnExporterOfTheGateway(t *testing.T) {
	_, ok := configuration(t, render(t, ""), gateway)["exporters"].(map[string]any)["kmesh_map"]
	require.False(t, ok, "off by default")

	config := configuration(t, render(t, "map.enabled=true"), gateway)
	require.Equal(t, map[string]any{"endpoint": "127.0.0.1:9465"}, config["exporters"].(map[string]any)["kmesh_map"])
	for _, signal := range []string{"metrics", "logs"} {
		require.Contains(t, pipelines(t, config)[signal].(map[string]any)["exporters"], "kmesh_map", signal)
	}
}

func TestChartHasTheDashboardsAndRules(t *testing.T) {
	all := render(t, presets["monitoring"])
	files, err := filepath.Glob("../../deploy/grafana/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		name := filepath.Base(path)
		config := as[corev1.ConfigMap](t, find(all, "ConfigMap", release+"-"+strings.TrimSuffix(name, ".json")))
		require.Equal(t, "1", config.Labels["grafana_dashboard"])
		require.JSONEq(t, string(want), config.Data[name])
	}

	groups := func(values string) (names []string) {
		rule := find(render(t, values), "PrometheusRule", release)
		require.NotNil(t, rule, values)
		all, _, err := unstructured.NestedSlice(rule.Object, "spec", "groups")
		require.NoError(t, err)
		for _, group := range all {
			names = append(names, group.(map[string]any)["name"].(string))
		}
		return names
	}
	require.Equal(t, []string{"kmesh", "kmesh-connections", "kmesh-agents"}, groups("monitoring.rules=true"))
	require.Equal(t, []string{"kmesh-workloads"}, groups("monitoring.workloadRules=true"))
	require.Equal(t, []string{"kmesh-costs"}, groups("monitoring.costRules=true"))
	require.Nil(t, find(render(t, ""), "PrometheusRule", release))
}

func TestIdentitySourceDecidesTheRights(t *testing.T) {
	all := render(t, "")
	require.NotNil(t, find(all, "ClusterRole", release))
	require.True(t, *daemonSet(t, "").Spec.Template.Spec.AutomountServiceAccountToken)

	all = render(t, "identity=istio")
	require.Nil(t, find(all, "ClusterRole", release), "istiod answers, not the API server")
	require.Nil(t, find(all, "ClusterRoleBinding", release))
	spec := daemonSet(t, "identity=istio").Spec.Template.Spec
	require.False(t, *spec.AutomountServiceAccountToken)
	var mounts []string
	for _, m := range spec.Containers[0].VolumeMounts {
		mounts = append(mounts, m.MountPath)
	}
	require.Subset(t, mounts, []string{"/var/run/secrets/tokens", "/var/run/secrets/istio"})
}

// With a directory the gateway watches the API server, and the agents ask the gateway.
func TestDirectoryMovesTheRightsToTheGateway(t *testing.T) {
	all := render(t, directory)
	require.Nil(t, find(all, "ClusterRole", release))
	require.Nil(t, find(all, "ClusterRoleBinding", release))
	role := as[rbacv1.ClusterRole](t, find(all, "ClusterRole", gateway))
	require.Equal(t, as[rbacv1.ClusterRole](t, find(render(t, ""), "ClusterRole", release)).Rules, role.Rules)
	binding := as[rbacv1.ClusterRoleBinding](t, find(all, "ClusterRoleBinding", gateway))
	require.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: gateway, Namespace: namespace}}, binding.Subjects)
	require.Equal(t, gateway, binding.RoleRef.Name)

	agents := as[appsv1.DaemonSet](t, find(all, "DaemonSet", release))
	require.False(t, *agents.Spec.Template.Spec.AutomountServiceAccountToken)
	deployment := as[appsv1.Deployment](t, find(all, "Deployment", gateway))
	require.True(t, *deployment.Spec.Template.Spec.AutomountServiceAccountToken)
	require.EqualValues(t, 2, *deployment.Spec.Replicas)
	require.EqualValues(t, 3, *as[appsv1.Deployment](t, find(render(t, directory+",gateway.replicas=3"), "Deployment", gateway)).Spec.Replicas)
	require.NotNil(t, find(all, "PodDisruptionBudget", gateway))
	require.NotEmpty(t, deployment.Spec.Template.Spec.TopologySpreadConstraints)

	identity := func(all []*unstructured.Unstructured) any {
		return configuration(t, all, release)["receivers"].(map[string]any)["kmesh"].(map[string]any)["identity"]
	}
	const endpoint = gateway + "." + namespace + ".svc:15010"
	require.Equal(t, map[string]any{"source": "istio", "istio": map[string]any{
		"endpoint": endpoint, "on_demand": true, "tls": map[string]any{"insecure": true},
	}}, identity(all))
	config := configuration(t, all, gateway)
	require.Equal(t, map[string]any{"endpoint": "0.0.0.0:15010"}, config["extensions"].(map[string]any)["kmesh_directory"])
	require.Contains(t, config["service"].(map[string]any)["extensions"], "kmesh_directory")
	service := as[corev1.Service](t, find(all, "Service", gateway))
	require.Equal(t, "directory", service.Spec.Ports[1].TargetPort.String())
	require.EqualValues(t, 15010, service.Spec.Ports[1].Port)
	policy := as[networkingv1.NetworkPolicy](t, find(all, "NetworkPolicy", gateway))
	require.Equal(t, "directory", policy.Spec.Ingress[0].Ports[len(policy.Spec.Ingress[0].Ports)-1].Port.String())

	secure := render(t, directory+",directory.tls.secretName=cert,directory.port=15011,directory.config.kubernetes.cluster_id=east,"+
		"agent.receiver.identity.istio.max_addresses=500")
	require.Equal(t, map[string]any{"source": "istio", "istio": map[string]any{
		"endpoint": strings.Replace(endpoint, "15010", "15011", 1), "on_demand": true, "max_addresses": 500,
		"tls": map[string]any{"ca_file": "/etc/kmesh-directory/ca.crt"},
	}}, identity(secure))
	require.Equal(t, map[string]any{
		"endpoint": "0.0.0.0:15011", "kubernetes": map[string]any{"cluster_id": "east"},
		"tls": map[string]any{"cert_file": "/etc/kmesh-directory/tls.crt", "key_file": "/etc/kmesh-directory/tls.key", "reload_interval": "1m"},
	}, configuration(t, secure, gateway)["extensions"].(map[string]any)["kmesh_directory"])
	for _, v := range as[appsv1.DaemonSet](t, find(secure, "DaemonSet", release)).Spec.Template.Spec.Volumes {
		if v.Secret != nil {
			require.Equal(t, []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}, v.Secret.Items, "the agents do not get the key")
		}
	}
	operator := render(t, directory+",operator.enabled=true")
	require.False(t, *as[corev1.ServiceAccount](t, find(operator, "ServiceAccount", release)).AutomountServiceAccountToken)
}

func TestAgentHasThreeCapabilitiesOnly(t *testing.T) {
	for name, values := range presets {
		if name == "operator" {
			continue // the resource takes the same template; the e2e tests validate it
		}
		context := daemonSet(t, values).Spec.Template.Spec.Containers[0].SecurityContext
		require.Equal(t, []corev1.Capability{"ALL"}, context.Capabilities.Drop, name)
		require.Equal(t, []corev1.Capability{"BPF", "PERFMON", "NET_ADMIN"}, context.Capabilities.Add, name)
		require.Nil(t, context.Privileged, name)
		require.False(t, *context.AllowPrivilegeEscalation, name)
		require.True(t, *context.ReadOnlyRootFilesystem, name)
	}
}

func TestOpenShift(t *testing.T) {
	all := render(t, "platform=openshift")
	scc := find(all, "SecurityContextConstraints", release)
	require.NotNil(t, scc)
	require.Equal(t, []any{"system:serviceaccount:" + namespace + ":" + release}, scc.Object["users"])
	require.Equal(t, false, scc.Object["allowPrivilegedContainer"])
	spec := as[appsv1.DaemonSet](t, find(all, "DaemonSet", release)).Spec.Template.Spec
	require.Equal(t, "spc_t", spec.Containers[0].SecurityContext.SELinuxOptions.Type)
	pod := as[appsv1.Deployment](t, find(all, "Deployment", gateway)).Spec.Template.Spec.SecurityContext
	require.Nil(t, pod.RunAsUser, "OpenShift chooses the user from the namespace's range")
	require.Nil(t, find(render(t, ""), "SecurityContextConstraints", release))
}

// The bounds of a container add up: the limiter refuses data above GOMEMLIMIT and below the limit, and what
// the agent's queue and eBPF maps take has room beside it.
func TestMemoryBoundsAddUp(t *testing.T) {
	all := render(t, "")
	containers := map[string]corev1.Container{
		release: as[appsv1.DaemonSet](t, find(all, "DaemonSet", release)).Spec.Template.Spec.Containers[0],
		gateway: as[appsv1.Deployment](t, find(all, "Deployment", gateway)).Spec.Template.Spec.Containers[0],
	}
	for name, container := range containers {
		var goLimit resource.Quantity
		for _, e := range container.Env {
			if e.Name == "GOMEMLIMIT" {
				goLimit = resource.MustParse(strings.TrimSuffix(e.Value, "B"))
			}
		}
		limiter, ok, err := unstructured.NestedFieldNoCopy(configuration(t, all, name), "processors", "memory_limiter", "limit_mib")
		require.NoError(t, err)
		require.True(t, ok)
		refuses := int64(limiter.(int)) << 20
		require.Positive(t, goLimit.Value(), name)
		require.Greater(t, refuses, goLimit.Value(), name)
		require.Greater(t, container.Resources.Limits.Memory().Value(), refuses+64<<20, name)
	}
}

// Both agents' ports differ from those that collectors and exporters listen on by default.
func TestAgentsPortsAreNoDefaultOfAnother(t *testing.T) {
	spec := daemonSet(t, "agent.telemetry.scrape=true").Spec.Template.Spec.Containers[0]
	ports := []int32{spec.LivenessProbe.HTTPGet.Port.IntVal, spec.Ports[0].ContainerPort}
	for _, taken := range []int32{4317, 4318, 8888, 8889, 9100, 9464, 10250, 10256, 13133, 55679} {
		require.NotContains(t, ports, taken)
	}
	for _, port := range ports {
		require.Less(t, port, int32(30000), "the range of NodePort and of outgoing connections begins there")
	}
	require.Empty(t, daemonSet(t, "").Spec.Template.Spec.Containers[0].Ports, "nothing listens but the health check")
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	for values, reason := range map[string]string{
		"platform=autopilot":              "GKE Autopilot rejects pods with hostPID",
		"gateway.enabled=false":           "name an OTLP endpoint",
		"gateway.replicas=2":              "with prometheus.scrape only 1",
		"gateway.prometheus.scrape=false": "no exporter for metrics",
		"gateway.replicas=2,gateway.prometheus.scrape=false,gateway.debug=true,gateway.queue.storage=persistentVolumeClaim": "cannot share a queue",
		"gateway.replicas=2,gateway.prometheus.scrape=false,map.enabled=true":                                               "a part of the map",
		"monitoring.serviceMonitor=true,gateway.enabled=false,agent.endpoint=a:1":                                           "needs gateway.enabled",
		"gateway.routing=node,agent.endpoint=a:1":                                                                           "leave agent.endpoint empty",
		"gateway.routing=node,gateway.enabled=false,agent.endpoint=a:1":                                                     "set gateway.enabled",
		"gateway.routing=random": "routing",
		"directory.enabled=true": "Set gateway.prometheus.scrape=false and gateway.prometheus.remoteWrite",
		"directory.enabled=true,gateway.enabled=false,gateway.prometheus.scrape=false,agent.endpoint=a:1": "needs gateway.enabled",
		directory + ",identity=istio":       "the agents ask istiod",
		directory + ",directory.port=4317":  "listens there already",
		directory + ",directory.replicas=3": "replicas",
		directory + ",map.enabled=true":     "a part of the map",
		"agent.ports.health=23888":          "must differ",
		"flatform=gke":                      "'flatform' not allowed",
		"platform=aix":                      "platform",
		"identity=file":                     "identity",
		"agent.maxUnavailable=0":            "maxUnavailable",
		"agent.ports.health=70000":          "health",
		"gateway.loki=loki:3100":            "loki",
		"image.digest=sha256:abc":           "digest",
		"networkPolicy.from={0.0.0.0}":      "from",
	} {
		_, err := template(values)
		require.Error(t, err, values)
		require.Contains(t, err.Error(), reason, values)
	}
	_, err := helm("template", release, chart, "--kube-version", "1.29.0", "--set", "agent.appArmorProfile=Unconfined")
	require.ErrorContains(t, err, "needs Kubernetes 1.30")
}

// The schema has each value, and no other: else a value could not be set, or would have no default.
func TestSchemaHasEveryValue(t *testing.T) {
	var values map[string]any
	content, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &values))
	var schema map[string]any
	content, err = os.ReadFile(filepath.Join(chart, "values.schema.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &schema))
	sameKeys(t, "", values, schema)
}

func sameKeys(t *testing.T, path string, values, schema map[string]any) {
	t.Helper()
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return // a free map, or a definition
	}
	require.Equal(t, false, schema["additionalProperties"], "%s: a misspelt key must be refused", path)
	for key, value := range values {
		inner, ok := properties[key].(map[string]any)
		require.True(t, ok, "%s.%s is not in the schema", path, key)
		if nested, ok := value.(map[string]any); ok {
			sameKeys(t, path+"."+key, nested, inner)
		}
	}
	for key := range properties {
		if path == "" && key == "global" {
			continue // Helm's own
		}
		require.Contains(t, values, key, "%s.%s has no default", path, key)
	}
}

// documentedValues returns what a document says to set: of each command with --set, and of each line with `KEY=VALUE`.
func documentedValues(t testing.TB, path string) (all []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	flag, span := regexp.MustCompile("--set ([a-z][A-Za-z_.]*=[^ \n`…]+)"), regexp.MustCompile("`([a-z][A-Za-z_.]*=[^ `…]+)`")
	placeholders := strings.NewReplacer("HOST:PORT", "backend:4317", "URL", "http://backend:9090")
	for line := range strings.Lines(strings.ReplaceAll(string(content), "\\\n", "")) {
		var values []string
		for _, found := range slices.Concat(flag.FindAllStringSubmatch(line, -1), span.FindAllStringSubmatch(line, -1)) {
			values = append(values, placeholders.Replace(found[1]))
		}
		if len(values) > 0 {
			all = append(all, strings.Join(values, ","))
		}
	}
	return all
}

func TestDocumentedValuesRender(t *testing.T) {
	for path, least := range map[string]int{"../../docs/install.md": 12, filepath.Join(chart, "README.md"): 2} {
		all := documentedValues(t, path)
		require.GreaterOrEqual(t, len(all), least, "%s: %q", path, all)
		for _, values := range all {
			_, err := template(values)
			require.NoError(t, err, "%s: %s", path, values)
		}
	}
}

// Each value has a comment, or is one of a group that has one.
func TestEveryValueIsDescribed(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	require.NoError(t, err)
	var values yaml.Node
	require.NoError(t, yaml.Unmarshal(content, &values))
	described(t, "", values.Content[0], false)
}

func described(t *testing.T, path string, values *yaml.Node, group bool) {
	t.Helper()
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		comment := key.HeadComment + key.LineComment + value.LineComment
		switch {
		case value.Kind == yaml.MappingNode && value.Style&yaml.FlowStyle == 0:
			described(t, path+"."+key.Value, value, comment != "")
		case !group:
			assert.NotEmpty(t, comment, "%s.%s", path, key.Value)
		}
	}
}

func TestChartNamesTheDistributionsVersion(t *testing.T) {
	var meta struct {
		AppVersion string `yaml:"appVersion"`
	}
	content, err := os.ReadFile(filepath.Join(chart, "Chart.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &meta))
	var manifest struct {
		Dist struct {
			Version string `yaml:"version"`
		} `yaml:"dist"`
	}
	content, err = os.ReadFile("../../builder-config.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &manifest))
	require.Equal(t, manifest.Dist.Version, meta.AppVersion)
}
