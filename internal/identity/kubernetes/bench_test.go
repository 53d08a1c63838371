// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// The cluster of the benchmarks: each pod is behind three services.
const (
	manyPods   = 10_000
	perService = 30 // and a tenth as many services as pods
	perNode    = 50
)

func addressOf(i int) string { return fmt.Sprintf("10.%d.%d.%d", 128+i>>16, i>>8&255, i&255) }

// ballastFor is how many pods are listed with all that a real one has besides.
const ballastFor = manyPods

func nthPod(i int) *corev1.Pod {
	deployment := fmt.Sprintf("deployment-%d", i/10)
	p := podOf(fmt.Sprintf("%s-5c5944c58c-v%04d", deployment, i), addressOf(i))
	p = labelled(ownedBy(p, "ReplicaSet", deployment+"-5c5944c58c"), "pod-template-hash", "5c5944c58c",
		"app.kubernetes.io/name", deployment, "app.kubernetes.io/version", "1.2.3", "app.kubernetes.io/managed-by", "Helm", "team", "checkout")
	p.ResourceVersion = fmt.Sprint(i + 1)
	p.Spec.NodeName = fmt.Sprintf("node-%d", i/perNode)
	p.UID = types.UID(fmt.Sprintf("1b4e28ba-2fa1-11d2-883f-%012x", i))
	p.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: after(-60)}},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: after(-50)}},
	}
	if i >= ballastFor {
		return p
	}
	p.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "2026-11-22T12:00:00Z"}
	// What a real pod has besides: a few KiB that are of no use here.
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: &metav1.FieldsV1{Raw: []byte(strings.Repeat("x", 2000))}}}
	for c := range p.Spec.Containers {
		for e := range 20 {
			p.Spec.Containers[c].Env = append(p.Spec.Containers[c].Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", e), Value: strings.Repeat("v", 40)})
		}
	}
	return p
}

// bigServer is an API server that lists the cluster of the benchmarks, and has no news.
func bigServer(b *testing.B, count int) *httptest.Server {
	b.Helper()
	pods, services := &corev1.PodList{}, &corev1.ServiceList{}
	endpoints, nodes := &discoveryv1.EndpointSliceList{}, &corev1.NodeList{}
	for i := range count {
		pods.Items = append(pods.Items, *nthPod(i))
	}
	for i := range count / perNode {
		nodes.Items = append(nodes.Items, corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{
				Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.20.%d.%d", i>>8, i&255),
			}}},
		})
	}
	for i := range count / 10 {
		name := fmt.Sprintf("service-%d", i)
		services.Items = append(services.Items, *serviceOf(name, fmt.Sprintf("172.%d.%d.%d", 16+i>>16, i>>8&255, i&255), servicePort("http", 80, "http")))
		s := sliceFor(name, name+"-x2k4p", map[string]int32{"http": 8080})
		for e := range perService {
			pod := &pods.Items[(i*perService+e)%count]
			s.Endpoints = append(s.Endpoints, toPod(pod.Name, pod.Status.PodIP))
		}
		endpoints.Items = append(endpoints.Items, *s)
	}
	answers := make(map[string][]byte)
	serializer := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	for path, list := range map[string]kruntime.Object{
		"/api/v1/pods": pods, "/api/v1/services": services, "/api/v1/nodes": nodes, "/apis/discovery.k8s.io/v1/endpointslices": endpoints,
	} {
		list.(metav1.ListMetaAccessor).GetListMeta().SetResourceVersion("1000000")
		version := schema.GroupVersion{Version: "v1"}
		if list == endpoints {
			version = discoveryv1.SchemeGroupVersion
		}
		var encoded bytes.Buffer
		require.NoError(b, scheme.Codecs.EncoderForVersion(serializer, version).Encode(list, &encoded))
		answers[path] = encoded.Bytes()
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sendInitialEvents") != "" {
			http.Error(w, "an older API server", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
		if r.URL.Query().Get("watch") != "" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		_, _ = w.Write(answers[r.URL.Path])
	}))
	b.Cleanup(server.Close)
	return server
}

func startBig(b *testing.B, server *httptest.Server, count int) *Source {
	b.Helper()
	client, err := newClient(&rest.Config{Host: server.URL}, server.Client())
	require.NoError(b, err)
	source := newSource(NewDefaultConfig(), identity.SourceSettings{Retain: time.Minute, NodeName: "node-1"}, client, neverReported)
	require.NoError(b, source.Start(context.Background()))
	for !source.InSync() {
		time.Sleep(time.Millisecond)
	}
	require.Equal(b, identity.Held{Workloads: count + count/perNode, Services: count / 10}, source.Held())
	return source
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // deleted when the finalizers are gone
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The goals. What is measured in bytes and allocations is held to them; times are the machine's, and are only shown.
const (
	syncGoal = 5 * time.Second // for 10,000 pods
	heapGoal = 600             // bytes for each pod, with all that it is behind
	heapBase = 256 << 10       // of the source itself, its connections and buffers
)

// BenchmarkSync takes in pods, a tenth as many services, and three endpoints a pod.
func BenchmarkSync(b *testing.B) {
	for _, count := range []int{1_000, manyPods, 150_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			server := bigServer(b, count)
			for b.Loop() {
				b.StopTimer()
				before := heap()
				b.StartTimer()
				source := startBig(b, server, count)
				b.StopTimer()
				used := float64(heap() - before)
				b.ReportMetric(used/float64(count), "heap-B/pod")
				b.ReportMetric(used/(1<<20), "heap-MiB")
				if used > heapBase+float64(heapGoal*count) {
					b.Errorf("%.0f bytes of heap a pod are more than %d", used/float64(count), heapGoal)
				}
				require.NoError(b, source.Close())
				b.StartTimer()
			}
			if each := b.Elapsed() / time.Duration(b.N); count == manyPods && each > syncGoal {
				b.Logf("in sync after %s: the goal is %s", each, syncGoal)
			}
		})
	}
}

// BenchmarkResolveUnderChanges looks up while 1,000 pods a second change: they are relabelled, and every tenth one is
// replaced by another at its address.
func BenchmarkResolveUnderChanges(b *testing.B) {
	r := newTestRegistry()
	source := &Source{Resolver: r.index}
	pods := make([]*corev1.Pod, manyPods)
	ends := make([]netip.AddrPort, manyPods)
	for i := range pods {
		pods[i] = nthPod(i)
		ends[i] = netip.MustParseAddrPort(addressOf(i) + ":8080")
		r.setPod(testCluster.pod(pods[i]), theFirst, noon)
	}
	lookup := func(i int) {
		if w, _ := source.Resolve(identity.End{Address: ends[i%manyPods]}, noon); w == nil {
			b.Fatal("nobody")
		}
	}
	i := 0
	if allocations := testing.AllocsPerRun(1000, func() { lookup(i); i++ }); allocations > 0 {
		b.Fatalf("a lookup allocates %.0f times", allocations)
	}
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changes := 0
	changing.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			var now time.Time
			select {
			case <-stop:
				return
			case now = <-ticker.C:
			}
			for range 10 {
				p := pods[changes%manyPods].DeepCopy()
				p.Labels[labelVersion] = fmt.Sprint(changes)
				if changes%10 == 0 {
					r.removePod("default/"+p.Name, now)
					p.Name += "x"
				}
				pods[changes%manyPods] = p
				r.setPod(testCluster.pod(p), nil, now)
				changes++
			}
			r.tick(now)
		}
	})
	// A clock takes as long as a lookup: it is read once for so many of them.
	const atOnce = 100
	took := make([]float64, 0, 1<<20)
	b.ReportAllocs() // those of the changes
	for b.Loop() {
		begin := time.Now()
		for range atOnce {
			lookup(i)
			i++
		}
		if len(took) < cap(took) {
			took = append(took, float64(time.Since(begin))/atOnce)
		}
	}
	close(stop)
	changing.Wait()
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "median-ns/lookup")
	b.ReportMetric(took[len(took)*99/100], "p99-ns/lookup")
	b.ReportMetric(float64(changes)/b.Elapsed().Seconds(), "changes/s")
}
