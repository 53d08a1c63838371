// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func inNamespace(namespace string, e *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	e.Namespace = namespace
	return e
}

func elsewhere(namespace string, s *corev1.Service) *corev1.Service {
	s.Namespace = namespace
	return s
}

// Some controllers, and people, list a pod's address without saying whose it is.
func TestASliceWithoutTargetsIsOfThePodsOfItsNamespace(t *testing.T) {
	byHand := func() *slice {
		return sliceOf(sliceFor("manual", "manual-1", map[string]int32{"": 80}, toAddress("10.244.0.5"), toAddress("192.0.2.9")))
	}
	other := func() *slice {
		return sliceOf(sliceFor("selected", "selected-1", map[string]int32{"": 8080}, toPod("web-0", "10.244.0.5")))
	}
	steps := map[string]func(r *registry){
		"pod":   func(r *registry) { r.setPod(testCluster.pod(podOf("web-0", "10.244.0.5")), nil, noon) },
		"slice": func(r *registry) { r.setSlice(byHand(), nil, noon) },
		"service": func(r *registry) {
			r.setService(testCluster.service(serviceOf("manual", "10.96.0.1", servicePort("", 80, nil))), nil, noon)
		},
		"selected": func(r *registry) {
			r.setService(testCluster.service(serviceOf("selected", "10.96.0.2", servicePort("", 80, 8080))), nil, noon)
		},
		"another": func(r *registry) { r.setSlice(other(), nil, noon) },
	}
	for _, order := range [][]string{
		{"pod", "slice", "service", "selected", "another"}, {"slice", "service", "another", "selected", "pod"},
		{"service", "slice", "pod", "another", "selected"}, {"another", "pod", "selected", "service", "slice"},
	} {
		r := newTestRegistry()
		for _, step := range order {
			steps[step](r)
		}
		require.Equal(t, "web-0 of manual", serviceOfPod(r, "10.244.0.5:80", after(1)), "%v", order)
		require.Equal(t, "web-0 of selected", serviceOfPod(r, "10.244.0.5:8080", after(1)), "%v", order)
		require.Equal(t, "manual of manual", serviceOfPod(r, "192.0.2.9:80", after(1)), "%v", order)
		require.Equal(t, identity.Held{Workloads: 2, Services: 2}, r.index.Held())

		// The pod is deleted, and its address passes to an unknown holder; then a pod of another namespace has it.
		r.removePod("default/web-0", after(10))
		require.Equal(t, "manual of manual", serviceOfPod(r, "10.244.0.5:80", after(11)), "%v", order)
		stranger := podOf("stranger", "10.244.0.5")
		stranger.Namespace = "other"
		r.setPod(testCluster.pod(stranger), nil, after(20))
		require.Equal(t, "stranger", serviceOfPod(r, "10.244.0.5:80", after(21)), "%v", order)

		r.removeSlice("default/manual-1", after(30))
		r.removeSlice("default/selected-1", after(30))
		r.removePod("other/stranger", after(30))
		require.Equal(t, identity.Held{Services: 2}, r.index.Held(), "%v", order)
		require.Empty(t, r.claims)
		require.Empty(t, r.pods)
		require.Empty(t, r.of)
	}
}

// A user who may write services and slices in one namespace cannot get the labels of workloads in others.
func TestNoLabelsAreTakenOverFromAnotherNamespace(t *testing.T) {
	r := newTestRegistry()
	r.setNode(testCluster.node(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}},
	}), theFirst, noon)
	r.setService(testCluster.service(serviceOf("web", "10.96.0.1", servicePort("", 80, nil))), theFirst, noon)
	r.setSlice(sliceOf(sliceFor("web", "web-1", map[string]int32{"": 80}, toPod("web-0", "10.244.0.5"))), theFirst, noon)
	r.setPod(testCluster.pod(podOf("web-0", "10.244.0.5")), theFirst, noon)

	thief := elsewhere("attack", serviceOf("a", "10.96.0.66", servicePort("", 80, nil), servicePort("kubelet", 10250, nil)))
	thief.Spec.ExternalIPs = []string{"10.244.0.5", "10.96.0.1"}
	r.setService(testCluster.service(thief), nil, after(1))
	r.setSlice(sliceOf(inNamespace("attack", sliceFor("a", "a-1", map[string]int32{"": 80, "kubelet": 10250},
		toPod("web-0", "10.244.0.5"), toAddress("172.18.0.2")))), nil, after(1))

	for address, want := range map[string]string{"10.244.0.5:80": "web-0 of web", "172.18.0.2:10250": "node-1"} {
		require.Equal(t, want, serviceOfPod(r, address, after(2)))
	}
	s := r.index.Service(netip.AddrPort{}, netip.MustParseAddrPort("10.96.0.1:80"), nil, after(2))
	require.Equal(t, "web", s.Name)
	w, _ := r.index.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}, after(2))
	require.Len(t, w.Services, 1)
}

func TestAPodOfASecondsLife(t *testing.T) {
	uid := "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
	states := func(p *corev1.Pod, began, ended float64) *corev1.Pod {
		p.UID = types.UID(uid)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			StartedAt: metav1.Time{Time: after(began)}, FinishedAt: metav1.Time{Time: after(ended)},
		}}}}
		p.Status.StartTime = &metav1.Time{Time: after(began - 1)}
		p.Status.Phase = corev1.PodSucceeded
		return p
	}
	r := newTestRegistry()
	done := states(podOf("job", "10.244.0.5"), 10, 12)
	early := podOf("job")
	early.UID = done.UID
	r.setPod(testCluster.pod(early), nil, after(9))
	r.setPod(testCluster.pod(done), nil, after(14))
	for at, want := range map[float64]string{5: "nobody", 9: "job", 12.9: "job", 13: "nobody"} {
		require.Equal(t, want, serviceOfPod(r, "10.244.0.5:80", after(at)), "%v", at)
	}
	require.Empty(t, r.pods)
	r.setPod(testCluster.pod(done), nil, after(15))
	require.Equal(t, "job", serviceOfPod(r, "10.244.0.5:80", after(11)), "its object stays, and is reported again")

	r = newTestRegistry()
	r.setPod(testCluster.pod(states(podOf("job", "10.244.0.5"), 10, 12)), theFirst, after(14))
	require.Equal(t, "job", serviceOfPod(r, "10.244.0.5:80", after(11)), "it was over before we came")
	r = newTestRegistry()
	r.setPod(testCluster.pod(states(podOf("job", "10.244.0.5"), 10, 12)), theFirst, after(14).Add(time.Hour))
	require.Equal(t, "nobody", serviceOfPod(r, "10.244.0.5:80", after(11)), "nobody needs it any more")
}

func TestThisNodesInterfaces(t *testing.T) {
	r := newTestRegistry()
	addresses := func(texts ...string) []netip.Addr { return parse(texts) }
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}},
	}
	r.setInterfaces(addresses("172.18.0.2", "10.244.0.1", "10.96.0.1", "10.244.0.5"), noon)
	r.setService(testCluster.service(serviceOf("web", "10.96.0.1", servicePort("", 80, nil))), theFirst, noon)
	r.setPod(testCluster.pod(podOf("p", "10.244.0.5")), theFirst, noon)
	r.setNode(testCluster.node(n), theFirst, noon)
	require.Equal(t, "node-1", serviceOfPod(r, "10.244.0.1:40000", after(1)), "the bridge's")
	require.Equal(t, "p", serviceOfPod(r, "10.244.0.5:40000", after(1)))
	require.Equal(t, "nobody", serviceOfPod(r, "10.96.0.1:80", after(1)), "kube-proxy's, in IPVS mode")

	r.setInterfaces(addresses("172.18.0.2", "10.244.7.1"), after(10))
	require.Equal(t, "node-1", serviceOfPod(r, "10.244.7.1:40000", after(11)))
	require.Equal(t, "nobody", serviceOfPod(r, "10.244.0.1:40000", after(11)))
	r.setNode(testCluster.node(n), nil, after(12))
	require.Equal(t, "node-1", serviceOfPod(r, "10.244.7.1:40000", after(13)))
	r.setInterfaces(addresses("192.0.2.1", "192.0.2.2"), after(20))
	require.Equal(t, "nobody", serviceOfPod(r, "192.0.2.2:1", after(21)), "they are another namespace's")
}

// A pod may be known before its node, and outlive it.
func TestAPodIsWhereItsNodeIs(t *testing.T) {
	r := newTestRegistry()
	on := func(node, name, address string) *pod {
		p := podOf(name, address)
		p.Spec.NodeName = node
		return testCluster.pod(p)
	}
	in := func(region, zone string) *node {
		labels := map[string]string{corev1.LabelTopologyRegion: region, corev1.LabelTopologyZone: zone}
		return testCluster.node(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-2", Labels: labels},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}},
		})
	}
	requireAt := func(address string, want identity.Topology) {
		t.Helper()
		w, _ := r.index.Resolve(identity.End{Address: netip.AddrPortFrom(netip.MustParseAddr(address), 80)}, after(10))
		require.Equal(t, want, w.Topology(), address)
	}
	r.setPod(on("node-2", "web-0", "10.244.0.5"), theFirst, noon)
	requireAt("10.244.0.5", identity.Topology{Region: "-", Zone: "-"})
	r.setNode(in("eu-1", "eu-1a"), theFirst, noon)
	r.setPod(on("node-2", "web-1", "10.244.0.6"), nil, after(1))
	r.setPod(on("", "web-2", "10.244.0.7"), nil, after(1))
	for _, address := range []string{"10.244.0.5", "10.244.0.6", "172.18.0.2"} {
		requireAt(address, identity.Topology{Region: "eu-1", Zone: "eu-1a"})
	}
	requireAt("10.244.0.7", identity.Topology{Region: "-", Zone: "-"})
	r.setNode(in("", "eu-1b"), nil, after(2))
	requireAt("10.244.0.5", identity.Topology{Region: "-", Zone: "eu-1b"})

	r.removeNode("node-2", after(3))
	requireAt("10.244.0.5", identity.Topology{Region: "-", Zone: "eu-1b"})
	r.sweepNodes(&list{round: 2}, after(4))
	require.Len(t, r.sites, 1, "pods are on it")
	r.removePod("default/web-0", after(5))
	r.removePod("default/web-1", after(5))
	r.removeNode("node-3", after(6)) // any: lists are rare, and nodes come and go between them
	require.Empty(t, r.sites)
}
