// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// The addresses of this scenario; the last byte distinguishes them, in both families.
const (
	labelsNetwork  = "10.244.10."
	labelsNetwork6 = "fd00:10:10::"
)

// party is the labels of one end.
type party struct{ workload, app, version, namespace, cluster string }

var (
	nobody    = party{"-", "-", "-", "-", "-"}
	sleeper   = inDefault("sleep", "sleep", "latest")
	webOfV1   = inDefault("web", "web", "v1")
	webOfV2   = inDefault("web", "web", "v2")
	theNode   = party{"node-2", "node-2", "latest", "-", "Kubernetes"}
	outsideDB = inDefault("database", "database", "latest")
)

func inDefault(workload, app, version string) party {
	return party{workload, app, version, "default", "Kubernetes"}
}

// flow is connections of the same labels, but for the reporter.
type flow struct {
	source, destination party
	service             string // its short name, or the destination's address
	connections         int
}

// series returns the samples that the flow must make, in Prometheus' text format.
func (f flow) series() []string {
	host, namespace, name := f.service, "-", "-"
	if !strings.ContainsAny(f.service, ".:") {
		host, namespace, name = f.service+".default.svc.cluster.local", "default", f.service
	}
	labels := map[string]string{
		"__name__": "kmesh_tcp_connections_closed_total", "job": "kmesh", "instance": "e2e-node",
		"destination_service": host, "destination_service_namespace": namespace, "destination_service_name": name,
		"request_protocol": "tcp", "response_flags": "-", "connection_security_policy": "mutual_tls",
	}
	for side, p := range map[string]party{"source_": f.source, "destination_": f.destination} {
		for label, value := range map[string]string{
			"workload": p.workload, "canonical_service": p.app, "canonical_revision": p.version, "workload_namespace": p.namespace,
			"principal": "-", "app": p.app, "version": p.version, "cluster": p.cluster,
		} {
			labels[side+label] = value
		}
	}
	var texts []string
	for _, reporter := range []string{"source", "destination"} {
		labels["reporter"] = reporter
		texts = append(texts, sample{labels: maps.Clone(labels), value: float64(f.connections)}.String())
	}
	return texts
}

// requireFlows waits until the selector matches the series of these flows, and no others.
func requireFlows(t *testing.T, s *stack, selector string, flows ...flow) {
	t.Helper()
	var want []string
	for _, f := range flows {
		want = append(want, f.series()...)
	}
	slices.Sort(want)
	eventually(t, func(c *assert.CollectT) {
		samples, err := s.prometheus.query("last_over_time(kmesh_tcp_connections_closed_total{" + selector + "}[1h])")
		require.NoError(c, err)
		for i := range samples {
			samples[i].labels["__name__"] = "kmesh_tcp_connections_closed_total"
		}
		require.Equal(c, want, texts(samples))
	})
}

// labelSource starts a source. It returns the collector's environment, and what must follow the cluster's changes for a source
// that does not watch the cluster.
type labelSource func(_ *cluster, kubeconfig string) (environment []string, changed func())

// TestLabels makes connections for each rule of the labels. All sources get the same objects, from a real API server.
func TestLabels(t *testing.T) {
	t.Run("kubernetes", func(t *testing.T) {
		testLabels(t, theNode, func(_ *cluster, kubeconfig string) ([]string, func()) {
			return []string{"E2E_SOURCE=kubernetes", "KUBECONFIG=" + kubeconfig}, func() {}
		})
	})
	// istiod and a file have no nodes.
	t.Run("istio", func(t *testing.T) {
		testLabels(t, nobody, func(c *cluster, _ string) ([]string, func()) {
			d := newIstiod(t, c)
			d.start(t)
			return []string{"E2E_SOURCE=istio", "E2E_ISTIOD=" + d.plain}, func() {}
		})
	})
	t.Run("file", func(t *testing.T) {
		testLabels(t, nobody, func(*cluster, string) ([]string, func()) {
			path := filepath.Join(t.TempDir(), "identity.yaml")
			changes := writeLabels(t, path)
			return []string{"E2E_SOURCE=file", "E2E_IDENTITY=" + path}, changes
		})
	})
}

// writeLabels writes an identity file with the content of the cluster's objects, and returns what writes it after each change.
func writeLabels(t *testing.T, path string) (changed func()) {
	workload := func(last int, pod, name, app, version, services string) string {
		return fmt.Sprintf("  - {uid: %s, name: %[1]s, namespace: default, addresses: [%[2]s, %[3]q], workload_name: %[4]s, canonical_name: %[5]s, "+
			"canonical_revision: %[6]q, cluster_id: Kubernetes, services: {%[7]s}}\n",
			pod, fmt.Sprint(labelsNetwork, last), fmt.Sprint(labelsNetwork6, last), name, app, version, services)
	}
	behind := func(service string, port, target int) string {
		return fmt.Sprintf("default/%s.default.svc.cluster.local: [{service_port: %d, target_port: %d}]", service, port, target)
	}
	service := func(name, address string, port, target int) string {
		return fmt.Sprintf("  - {name: %s, namespace: default, hostname: %[1]s.default.svc.cluster.local, addresses: [%[2]s], ports: [{service_port: %[3]d, target_port: %[4]d}]}\n",
			name, address, port, target)
	}
	web := strings.Join([]string{behind("beta", 80, 8080), behind("alpha", 81, 8080), behind("gamma", 82, 9090)}, ", ")
	stages := []string{
		workload(11, "web-5c5944c58c-v9mlk", "web", "web", "v1", web),
		workload(11, "web-5c5944c58c-v9mlk", "web", "web", "v1", web) + workload(30, "late", "late", "late", "latest", ""),
		workload(11, "web-5c5944c58c-v9mlk", "web", "web", "v2", web) + workload(30, "late", "late", "late", "latest", "") + workload(31, "later", "later", "later", "latest", ""),
	}
	changed = func() {
		text := "workloads:\n" + stages[0] +
			workload(10, "sleep-7656cf8794-4fqx2", "sleep", "sleep", "latest", "") +
			workload(12, "db-0", "db", "db", "latest", behind("db", 5432, 5432)) +
			workload(13, "database", "database", "database", "latest", behind("database", 5432, 5432)) +
			workload(20, "backup-29397720-7xk2p", "backup", "backup", "latest", "") +
			workload(21, "migrate-9k2lf", "migrate", "migrate", "latest", "") +
			workload(22, "agent-x2v5z", "agent", "agent", "latest", "") +
			workload(23, "shell", "shell", "shell", "latest", "") +
			workload(24, "cart-0", "cart", "shop", "2.0", "") +
			"services:\n" + service("beta", "10.96.7.2", 80, 8080) + service("alpha", "10.96.7.1", 81, 8080) + service("gamma", "10.96.7.3", 82, 9090) +
			service("db", "", 5432, 5432) + service("database", "10.96.7.4", 5432, 5432)
		stages = stages[1:]
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	changed()
	return changed
}

// testLabels starts a collector with the source.
func testLabels(t *testing.T, node party, source labelSource) {
	network := testhost.NewNetwork(t)
	cidrs := func(last ...int) (all []string) {
		for _, n := range last {
			all = append(all, fmt.Sprintf("%s%d/24", labelsNetwork, n), fmt.Sprintf("%s%d/64", labelsNetwork6, n))
		}
		return all
	}
	sleep, others := network.Host("sleep", cidrs(10)...), network.Host("others", cidrs(11, 12, 13, 14, 20, 21, 22, 23, 24, 30, 31)...)
	var served count
	for _, port := range []string{"8080", "9090", "5432"} {
		serve(t, others, ":"+port, func(int64) int64 { return answerSize }, &served)
	}

	c := newCluster(t)
	kubeconfig, token := c.kubeconfig(t, "agent")
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	web := podAt(11, podOf("web", "5c5944c58c", "v9mlk", map[string]string{"app": "web", "version": "v1"}))
	db := podAt(12, labelled(owned("db-0", "StatefulSet", "db"), "role", "db"))
	c.create(t, podAt(10, podOf("sleep", "7656cf8794", "4fqx2", map[string]string{"app": "sleep"})), web, db,
		// Two services end at the same port of one pod, and a third one at another.
		service("beta", "10.96.7.2", 80, 8080, "app", "web"), sliceTo("beta", 8080, web.Name, labelsNetwork+"11"),
		service("alpha", "10.96.7.1", 81, 8080, "app", "web"), sliceTo("alpha", 8080, web.Name, labelsNetwork+"11"),
		service("gamma", "10.96.7.3", 82, 9090, "app", "web"), sliceTo("gamma", 9090, web.Name, labelsNetwork+"11"),
		service("db", corev1.ClusterIPNone, 5432, 5432, "role", "db"), sliceTo("db", 5432, db.Name, labelsNetwork+"12"),
		service("database", "10.96.7.4", 5432, 5432), sliceTo("database", 5432, "", labelsNetwork+"13"),
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "alias", Namespace: "default"},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.example"},
		},
		&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-2"},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: labelsNetwork + "14"}}},
		},
		podAt(20, owned("backup-29397720-7xk2p", "Job", "backup-29397720")), // of a CronJob
		podAt(21, owned("migrate-9k2lf", "Job", "migrate")),
		podAt(22, owned("agent-x2v5z", "DaemonSet", "agent")),
		podAt(23, owned("shell", "", "")),
		podAt(24, labelled(owned("cart-0", "StatefulSet", "cart"), "service.istio.io/canonical-name", "shop", "app", "no",
			"app.kubernetes.io/version", "2.0", "version", "no")),
	)
	environment, changed := source(c, kubeconfig)
	s := startStack(t, environment...)
	s.collector.inSync(t, true)

	// Before the two pods are reported: one becomes known while the record waits, the other too late.
	plainConnection(t, sleep, labelsNetwork+"30:8080")
	plainConnection(t, sleep, labelsNetwork+"31:8080")
	eventually(t, func(a *assert.CollectT) {
		require.Contains(a, s.collector.ownMetrics(), "otelcol_kmesh_records_waiting")
		require.NotRegexp(a, `otelcol_kmesh_records_waiting\S* 0\n`, s.collector.ownMetrics())
	})
	c.create(t, podAt(30, owned("late", "", "")))
	changed()

	// Only the node translates the service's own address.
	kubeProxy(t, network, labelsNetwork+"1/24", sleep, others, labelsNetwork+"10", "10.96.7.1:81", labelsNetwork+"11:8080")
	for _, target := range []string{"10.96.7.1:81", "10.244.10.11:8080", "10.244.10.11:9090", "[fd00:10:10::11]:8080", "10.244.10.12:5432", "10.244.10.13:5432", "10.244.10.14:8080"} {
		plainConnection(t, sleep, target)
	}
	for last := range 5 {
		others.Do(func() {
			conn, err := connectFrom(fmt.Sprintf("%s%d", labelsNetwork, 20+last), labelsNetwork+"11:8080")
			if assert.NoError(t, err) {
				assert.NoError(t, request(conn, sampleRequest, answerSize, &count{}))
				_ = conn.Close()
			}
		})
	}
	flows := []flow{
		{sleeper, webOfV1, "alpha", 3}, // by its address, over IPv4 and IPv6, and by the service's
		{sleeper, webOfV1, "gamma", 1},
		{sleeper, inDefault("db", "db", "latest"), "db", 1},
		{sleeper, outsideDB, "database", 1},
		{sleeper, node, labelsNetwork + "14", 1},
		{sleeper, inDefault("late", "late", "latest"), labelsNetwork + "30", 1},
		{sleeper, nobody, labelsNetwork + "31", 1},
	}
	for _, source := range []party{
		inDefault("backup", "backup", "latest"), inDefault("migrate", "migrate", "latest"), inDefault("agent", "agent", "latest"),
		inDefault("shell", "shell", "latest"), inDefault("cart", "shop", "2.0"),
	} {
		flows = append(flows, flow{source, webOfV1, "alpha", 1})
	}
	requireFlows(t, s, "", flows...)

	// A connection without a name stays without one, and the next one has a name.
	c.create(t, podAt(31, owned("later", "", "")))
	// A new version is another series; the old one stays as it was.
	_, err := c.client.CoreV1().Pods("default").Patch(context.Background(), web.Name, types.MergePatchType,
		[]byte(`{"metadata": {"labels": {"version": "v2"}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	changed()
	eventually(t, func(a *assert.CollectT) { // how many that takes depends on the watch
		plainConnection(t, sleep, labelsNetwork+"11:9090")
		samples, err := s.prometheus.query(`kmesh_tcp_connections_closed_total{destination_service_name="gamma",destination_version="v2"}`)
		require.NoError(a, err)
		require.Len(a, samples, 2)
	})
	plainConnection(t, sleep, labelsNetwork+"11:8080")
	plainConnection(t, sleep, "[fd00:10:10::11]:8080")
	plainConnection(t, sleep, labelsNetwork+"31:8080")
	flows = slices.DeleteFunc(flows, func(f flow) bool { return f.service == "gamma" })
	requireFlows(t, s, `destination_service_name!="gamma"`, append(flows,
		flow{sleeper, webOfV2, "alpha", 2},
		flow{sleeper, inDefault("later", "later", "latest"), labelsNetwork + "31", 1})...)

	got, err := s.prometheus.query(`kmesh_tcp_workload_connections_closed_total{reporter="source",destination_pod_address="fd00:10:10::11"}`)
	require.NoError(t, err)
	require.Len(t, got, 2)
	for _, g := range got {
		require.Equal(t, web.Name, g.labels["destination_pod_name"])
		require.InDelta(t, 1, g.value, 0, g.String())
	}
}

// podAt gives the pod the address of that number, in both families, a minute ago.
func podAt(last int, p *corev1.Pod) *corev1.Pod {
	addresses := []string{fmt.Sprintf("%s%d", labelsNetwork, last), fmt.Sprintf("%s%d", labelsNetwork6, last)}
	p.Status.PodIP = addresses[0]
	p.Status.PodIPs = []corev1.PodIP{{IP: addresses[0]}, {IP: addresses[1]}}
	return ready(p, time.Now().Add(-time.Minute))
}

// owned gives a pod without labels that something controls; an empty kind: nothing does.
func owned(name, kind, owner string) *corev1.Pod {
	p := podOf("app", "", "", nil)
	p.Name, p.Labels, p.OwnerReferences = name, nil, nil
	if kind != "" {
		controls := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: owner, UID: "owner", Controller: &controls}}
	}
	return p
}

func labelled(p *corev1.Pod, keysAndValues ...string) *corev1.Pod {
	p.Labels = make(map[string]string)
	for i := 0; i < len(keysAndValues); i += 2 {
		p.Labels[keysAndValues[i]] = keysAndValues[i+1]
	}
	return p
}

// service has a selector of one key and value, or none. The test creates the slices, because no controller runs.
func service(name, address string, port, target int32, selector ...string) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.ServiceSpec{ClusterIP: address, Ports: []corev1.ServicePort{{Port: port, TargetPort: intstr.FromInt32(target)}}},
	}
	if len(selector) > 0 {
		s.Spec.Selector = map[string]string{selector[0]: selector[1]}
	}
	return s
}

// sliceTo puts a pod behind a service or, without its name, the holder of the address.
func sliceTo(service string, port int32, pod, address string) *discoveryv1.EndpointSlice {
	name, endpoint := "", discoveryv1.Endpoint{Addresses: []string{address}}
	if pod != "" {
		endpoint.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: pod}
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service + "-x2k4p", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{endpoint},
	}
}
