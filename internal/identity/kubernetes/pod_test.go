// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func after(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// podOf returns a running pod of the namespace default.
func podOf(name string, addresses ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", UID: types.UID("uid-of-" + name),
			CreationTimestamp: metav1.Time{Time: after(-3600)},
		},
		Spec:   corev1.PodSpec{NodeName: "node-1", ServiceAccountName: "default", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, a := range addresses {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
		p.Status.PodIP = p.Status.PodIPs[0].IP
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

func ownedBy(p *corev1.Pod, kind, name string) *corev1.Pod {
	controls := true
	p.OwnerReferences = []metav1.OwnerReference{
		{Kind: "Trap", Name: "no-controller"},
		{APIVersion: "v1", Kind: kind, Name: name, UID: "owner", Controller: &controls},
	}
	return p
}

var testCluster = cluster{id: "Kubernetes", domain: "cluster.local"}

// named is a pod's names.
func named(t *testing.T, c cluster, p *corev1.Pod) identity.Names {
	t.Helper()
	p = p.DeepCopy()
	p.Status.PodIP = "10.244.0.1"
	return c.pod(p).workload.Names.Value()
}

func TestTheWorkloadIsTheOwner(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want string
	}{
		{"bare pod", podOf("shell"), "shell"},
		{"Deployment", labelled(ownedBy(podOf("httpbin-5c5944c58c-v9mlk"), "ReplicaSet", "httpbin-5c5944c58c"), "pod-template-hash", "5c5944c58c"), "httpbin"},
		{"Deployment with hyphens", labelled(ownedBy(podOf("p"), "ReplicaSet", "a-b-7656cf8794"), "pod-template-hash", "7656cf8794"), "a-b"},
		{"Argo Rollout", labelled(ownedBy(podOf("p"), "ReplicaSet", "shop-687d76d795"), "rollouts-pod-template-hash", "687d76d795"), "shop"},
		{"ReplicaSet of its own", ownedBy(podOf("p"), "ReplicaSet", "frontend"), "frontend"},
		{"ReplicaSet whose name ends otherwise", labelled(ownedBy(podOf("p"), "ReplicaSet", "frontend-v2"), "pod-template-hash", "5c5944c58c"), "frontend-v2"},
		{"ReplicaSet that is named as a hash", labelled(ownedBy(podOf("p"), "ReplicaSet", "-5c"), "pod-template-hash", "5c"), "-5c"},
		{"StatefulSet", ownedBy(podOf("web-0"), "StatefulSet", "web"), "web"},
		{"DaemonSet", ownedBy(podOf("agent-x2v5z"), "DaemonSet", "agent"), "agent"},
		{"Job", ownedBy(podOf("migrate-9k2lf"), "Job", "migrate"), "migrate"},
		{"Job whose name ends in a year", ownedBy(podOf("p"), "Job", "report-2026"), "report-2026"},
		{"CronJob", ownedBy(podOf("backup-29397720-7xk2p"), "Job", "backup-29397720"), "backup"},
		{"CronJob of old", ownedBy(podOf("p"), "Job", "backup-1617177600"), "backup"},
		{"ReplicationController", ownedBy(podOf("p"), "ReplicationController", "rc"), "rc"},
		{"DeploymentConfig", labelled(ownedBy(podOf("p"), "ReplicationController", "shop-3"), "deploymentconfig", "shop"), "shop"},
		{"another kind", ownedBy(podOf("p"), "CloneSet", "clones"), "clones"},
		{"static pod", ownedBy(podOf("etcd-node-1"), "Node", "node-1"), "etcd-node-1"},
	} {
		require.Equal(t, c.want, named(t, testCluster, c.pod).Workload, c.name)
	}
}

func TestCanonicalNameAndRevision(t *testing.T) {
	for _, c := range []struct {
		name              string
		labels            []string
		service, revision string
	}{
		{"none: the owner, latest", nil, "web", "latest"},
		{"app, version", []string{"app", "a", "version", "v1"}, "a", "v1"},
		{"app.kubernetes.io before them", []string{"app", "a", "version", "v1", "app.kubernetes.io/name", "b", "app.kubernetes.io/version", "v2"}, "b", "v2"},
		{"service.istio.io before all", []string{
			"app", "a", "version", "v1", "app.kubernetes.io/name", "b", "app.kubernetes.io/version", "v2",
			"service.istio.io/canonical-name", "c", "service.istio.io/canonical-revision", "v3",
		}, "c", "v3"},
		{"each by itself", []string{"service.istio.io/canonical-name", "c", "version", "v1"}, "c", "v1"},
		{"one that is empty says that there is none, as in Istio", []string{"app.kubernetes.io/name", "", "app", "a", "app.kubernetes.io/version", "", "version", "v1"}, "web", "latest"},
	} {
		got := named(t, testCluster, labelled(ownedBy(podOf("web-0"), "StatefulSet", "web"), c.labels...))
		require.Equal(t, c.service, got.CanonicalService, c.name)
		require.Equal(t, c.revision, got.CanonicalRevision, c.name)
		require.Equal(t, "web", got.Workload, c.name)
	}
}

func TestTheLabelOfTheWorkloadsName(t *testing.T) {
	p := func(value string) *corev1.Pod {
		return labelled(ownedBy(podOf("web-0"), "StatefulSet", "web"), "service.istio.io/workload-name", value)
	}
	require.Equal(t, "other", named(t, testCluster, p("other")).Workload)
	require.Equal(t, "other", named(t, testCluster, p("other")).CanonicalService)
	require.Equal(t, "web-0", named(t, testCluster, p("")).Workload, "an empty one says that nothing owns it, as in Istio")
}

func TestPrincipalNeedsATrustDomain(t *testing.T) {
	require.Equal(t, "-", named(t, testCluster, podOf("p")).Principal)
	mesh := testCluster
	mesh.trustDomain = "mesh.example"
	require.Equal(t, "spiffe://mesh.example/ns/default/sa/default", named(t, mesh, podOf("p")).Principal)
	unset := podOf("p")
	unset.Spec.ServiceAccountName = ""
	require.Equal(t, "-", named(t, mesh, unset).Principal)
}

func TestTheOtherFieldsOfAPod(t *testing.T) {
	p := podOf("p", "10.244.0.5", "fd00::5")
	p.Spec.HostNetwork = true
	w := testCluster.workload(p)
	require.Equal(t, "//Pod/default/p", w.UID)
	require.Equal(t, "p", w.Name)
	require.Equal(t, "default", w.Namespace())
	require.True(t, w.HostNetwork)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.244.0.5"), netip.MustParseAddr("fd00::5")}, w.Addresses, "dual stack")
	require.Equal(t, identity.Names{
		Workload: "p", CanonicalService: "p", CanonicalRevision: "latest", Namespace: "default", Principal: "-", Cluster: "Kubernetes",
	}, w.Names.Value())

	old := podOf("p")
	old.Status.PodIP = "10.244.0.6"
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.244.0.6")}, testCluster.workload(old).Addresses)
}

func TestAPodInTheMeshTakesHBONE(t *testing.T) {
	p := podOf("p")
	require.Equal(t, identity.TunnelNone, testCluster.workload(p).Tunnel)
	p.Annotations = map[string]string{"ambient.istio.io/redirection": "enabled"}
	require.Equal(t, identity.TunnelHBONE, testCluster.workload(p).Tunnel)
	require.Equal(t, identity.TunnelHBONE, testCluster.workload(labelled(podOf("q"), "networking.istio.io/tunnel", "http")).Tunnel)
}

func TestSinceWhenAPodHadItsAddress(t *testing.T) {
	ready := func(at time.Time, status corev1.ConditionStatus) *pod {
		p := podOf("p")
		p.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: after(-1)}},
			{Type: corev1.PodReadyToStartContainers, Status: status, LastTransitionTime: metav1.Time{Time: at}},
		}
		return testCluster.pod(p)
	}
	started := func(p *pod, at float64) *pod { p.started = after(at); return p }
	for _, c := range []struct {
		name    string
		pod     *pod
		initial bool
		want    time.Time
	}{
		{"its network was ready", ready(after(-30), corev1.ConditionTrue), false, after(-30)},
		{"likewise, before us", ready(after(-30), corev1.ConditionTrue), true, after(-30)},
		{"its first container started before the kubelet looked", started(ready(after(-30), corev1.ConditionTrue), -32), false, after(-32)},
		{"and only that is known", started(testCluster.pod(podOf("p")), -32), false, after(-3600)},
		{"by a clock that is ahead", ready(after(30), corev1.ConditionTrue), false, after(0)},
		{"not ready", ready(after(-30), corev1.ConditionFalse), false, after(0)},
		{"the word has just come", testCluster.pod(podOf("p")), false, after(0)},
		{"it was there before us: its creation", testCluster.pod(podOf("p")), true, after(-3600)},
	} {
		require.Equal(t, c.want, c.pod.span(c.initial, noon).From, c.name)
	}
}

func TestThePodOfACgroupsPath(t *testing.T) {
	const uid, hash = "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	want := func(text string) identity.PodUID {
		parsed, ok := identity.ParsePodUID(text)
		require.True(t, ok)
		return parsed
	}
	p := podOf("web-0", "10.244.0.5")
	p.UID = uid
	require.Equal(t, want(uid), testCluster.pod(p).workload.PodUID)
	p.Annotations = map[string]string{"kubernetes.io/config.mirror": hash}
	require.Equal(t, want(hash), testCluster.pod(p).workload.PodUID, "a static pod runs under its manifest's hash")
	p.Annotations, p.UID = nil, "of another kind"
	require.Zero(t, testCluster.pod(p).workload.PodUID)
}

func TestPortsOfTheNodeThatLeadToAPod(t *testing.T) {
	p := podOf("web", "10.244.0.5")
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{
		{ContainerPort: 80}, {ContainerPort: 81, HostPort: 8081}, {ContainerPort: 82, HostPort: 8082, HostIP: "0.0.0.0"},
		{ContainerPort: 83, HostPort: 8083, HostIP: "127.0.0.1"}, {ContainerPort: 84, HostPort: 8084, Protocol: corev1.ProtocolUDP},
	}
	require.Equal(t, []uint16{8081, 8082}, testCluster.pod(p).ports)
	p.Spec.HostNetwork = true
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 9100}}
	p.Spec.InitContainers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 9101, HostPort: 9101}}}}
	require.Equal(t, []uint16{9101, 9100}, testCluster.pod(p).ports)
	require.Empty(t, testCluster.pod(podOf("none", "10.244.0.6")).ports)

	r := newTestRegistry()
	r.setNode(testCluster.node(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}},
	}), theFirst, noon)
	p.Status.PodIPs[0].IP, p.Status.PodIP = "172.18.0.2", "172.18.0.2"
	r.setPod(testCluster.pod(p), theFirst, noon)
	at := identity.End{Address: netip.MustParseAddrPort("172.18.0.2:9100"), Server: true}
	w, _ := r.index.Resolve(at, after(1))
	require.Equal(t, "web", w.Name)
	r.removePod("default/web", after(2))
	w, _ = r.index.Resolve(at, after(3))
	require.True(t, w.Node)

	s := serviceOf("web", "10.96.0.1", servicePort("http", 80, 8080))
	s.Spec.Ports[0].NodePort = 30080
	r.setService(testCluster.service(s), theFirst, noon)
	require.Equal(t, "web", r.index.Service(netip.AddrPort{}, netip.MustParseAddrPort("172.18.0.2:30080"), nil, after(1)).Name)
}
