// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	within = 20 * time.Second
	often  = 5 * time.Millisecond
)

func serviceOf(name, clusterIP string, ports ...corev1.ServicePort) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.ServiceSpec{ClusterIP: clusterIP, ClusterIPs: []string{clusterIP}, Ports: ports},
	}
	return s
}

func servicePort(name string, port int32, target any) corev1.ServicePort {
	p := corev1.ServicePort{Name: name, Port: port, Protocol: corev1.ProtocolTCP}
	switch target := target.(type) {
	case int:
		p.TargetPort = intstr.FromInt(target)
	case string:
		p.TargetPort = intstr.FromString(target)
	}
	return p
}

// sliceFor returns an endpoint slice of a service, with these ports by their name.
func sliceFor(service, name string, ports map[string]int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"kubernetes.io/service-name": service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   endpoints,
	}
	for name, port := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port})
	}
	return s
}

func toPod(name string, addresses ...string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: addresses, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: name}}
}

func toAddress(addresses ...string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: addresses}
}

func neverReported() time.Time { return time.Time{} }

func noInterfaces() ([]netip.Addr, error) { return nil, nil }

// statuses keeps what OnStatus got.
type statuses struct {
	mu  sync.Mutex
	all []error
}

func (s *statuses) hear(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, err)
}

func (s *statuses) heard() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]error(nil), s.all...)
}

// world is a source that watches a fake API server.
type world struct {
	*Source
	t      *testing.T
	client *fake.Clientset
	statuses
}

// newWorld has the objects before the source begins.
func newWorld(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewClientset(objects...)}
	source := newSource(NewDefaultConfig(), identity.SourceSettings{Retain: time.Minute, OnStatus: w.hear, Interfaces: noInterfaces}, w.client, neverReported)
	w.Source = source
	t.Cleanup(func() { require.NoError(t, source.Close()) })
	return w
}

func startWorld(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	w := newWorld(t, objects...)
	require.NoError(t, w.Start(context.Background()))
	require.Eventually(t, w.InSync, within, often)
	return w
}

// who has the address, and of which service is the port there.
func (w *world) who(address string) string {
	at := netip.MustParseAddrPort(address)
	now := time.Now()
	workload, _ := w.Resolve(identity.End{Address: at}, now)
	name := "nobody"
	if workload != nil {
		name = workload.Name
	}
	if s := w.Service(netip.AddrPort{}, at, workload, now); s != nil {
		name += " of " + s.Host
	}
	return name
}

// becomes waits until the address answers so.
func (w *world) becomes(address, want string) {
	w.t.Helper()
	last := ""
	require.Eventually(w.t, func() bool {
		last = w.who(address)
		return last == want
	}, within, often, "%s should become %q", address, want)
}

func (w *world) do(_ any, err error) {
	w.t.Helper()
	require.NoError(w.t, err)
}

func TestAPodBehindAService(t *testing.T) {
	ctx := context.Background()
	w := startWorld(t,
		labelled(ownedBy(podOf("httpbin-5c5944c58c-v9mlk", "10.244.0.11", "fd00::11"), "ReplicaSet", "httpbin-5c5944c58c"),
			"app", "httpbin", "version", "v1", "pod-template-hash", "5c5944c58c"),
		serviceOf("httpbin", "10.96.5.5", servicePort("http", 8000, 80), servicePort("admin", 9000, "admin")),
		sliceFor("httpbin", "httpbin-1", map[string]int32{"http": 80, "admin": 15000}, toPod("httpbin-5c5944c58c-v9mlk", "10.244.0.11")),
		podOf("other", "10.244.0.12"),
	)
	const host = "httpbin.default.svc.cluster.local"
	require.Equal(t, "httpbin-5c5944c58c-v9mlk of "+host, w.who("10.244.0.11:80"))
	require.Equal(t, "httpbin-5c5944c58c-v9mlk of "+host, w.who("[fd00::11]:15000"), "a named target port")
	require.Equal(t, "nobody of "+host, w.who("10.96.5.5:8000"))
	require.Equal(t, "nobody", w.who("10.96.5.5:80"), "the service has no such port")
	require.Equal(t, "other", w.who("10.244.0.12:80"))
	require.Equal(t, identity.Held{Workloads: 2, Services: 1}, w.Held())

	pod, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.11:80")}, time.Now())
	require.Equal(t, []identity.Membership{{
		Service: identity.ServiceKey{Namespace: "default", Host: host},
		Ports:   []identity.Port{{Service: 8000, Target: 80}, {Service: 9000, Target: 15000}},
	}}, pod.Services)
	require.True(t, w.Named(pod.Names))

	// A pod that moves to another service is behind the first a moment longer.
	w.do(w.client.CoreV1().Services("default").Create(ctx, serviceOf("second", "None", servicePort("", 80, 80)), metav1.CreateOptions{}))
	w.do(w.client.DiscoveryV1().EndpointSlices("default").Create(ctx,
		sliceFor("second", "second-1", map[string]int32{"": 80}, toPod("httpbin-5c5944c58c-v9mlk", "10.244.0.11")), metav1.CreateOptions{}))
	require.NoError(t, w.client.DiscoveryV1().EndpointSlices("default").Delete(ctx, "httpbin-1", metav1.DeleteOptions{}))
	w.becomes("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk of second.default.svc.cluster.local")
}

func TestTwoServicesOnOnePod(t *testing.T) {
	w := startWorld(t, podOf("p", "10.244.0.5"),
		serviceOf("b", "10.96.0.2", servicePort("", 80, 8080)),
		serviceOf("a", "10.96.0.1", servicePort("", 81, 8080)),
		serviceOf("c", "10.96.0.3", servicePort("", 82, 9090)),
		sliceFor("b", "b-1", map[string]int32{"": 8080}, toPod("p", "10.244.0.5")),
		sliceFor("a", "a-1", map[string]int32{"": 8080}, toPod("p", "10.244.0.5")),
		sliceFor("c", "c-1", map[string]int32{"": 9090}, toPod("p", "10.244.0.5")))
	require.Equal(t, "p of a.default.svc.cluster.local", w.who("10.244.0.5:8080"), "a tie goes to the lowest host name")
	require.Equal(t, "p of c.default.svc.cluster.local", w.who("10.244.0.5:9090"))
	require.Equal(t, "p", w.who("10.244.0.5:1"))
}

func TestServicesOfEveryKind(t *testing.T) {
	dual := serviceOf("dual", "10.96.0.1", servicePort("", 80, nil))
	dual.Spec.ClusterIPs = []string{"10.96.0.1", "fd00:96::1"}
	dual.Spec.ExternalIPs = []string{"192.0.2.1"}
	dual.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}, {Hostname: "lb.example"}}
	alias := serviceOf("alias", "10.96.0.9", servicePort("", 80, nil)) // the address is from before it became an alias
	alias.Spec.Type, alias.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.org"
	datagrams := serviceOf("datagrams", "10.96.0.8", corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP})
	dns := serviceOf("dns", "10.96.0.10", corev1.ServicePort{Name: "udp", Port: 53, Protocol: corev1.ProtocolUDP}, servicePort("tcp", 53, 5353))

	udp, number := corev1.ProtocolUDP, int32(5300)
	dnsSlice := sliceFor("dns", "dns-1", map[string]int32{"tcp": 5353}, toPod("p", "10.244.0.5"))
	dnsSlice.Ports = append(dnsSlice.Ports, discoveryv1.EndpointPort{Protocol: &udp, Port: &number}, discoveryv1.EndpointPort{})
	names := sliceFor("dual", "names", map[string]int32{"": 80}, toAddress("db.example"))
	names.AddressType = discoveryv1.AddressTypeFQDN
	stray := sliceFor("", "stray", map[string]int32{"": 80}, toAddress("192.0.2.77"))

	w := startWorld(t, podOf("p", "10.244.0.5"), podOf("headless-0", "10.244.0.6"), dual, alias, datagrams, dns, dnsSlice, names, stray,
		sliceFor("datagrams", "datagrams-1", map[string]int32{}, toPod("p", "10.244.0.5")),
		serviceOf("headless", "None"),
		sliceFor("headless", "headless-1", nil, toPod("headless-0", "10.244.0.6")),
	)
	for _, address := range []string{"10.96.0.1:80", "[fd00:96::1]:80", "192.0.2.1:80", "192.0.2.2:80"} {
		require.Equal(t, "nobody of dual.default.svc.cluster.local", w.who(address))
	}
	require.Equal(t, "nobody", w.who("10.96.0.9:80"), "ExternalName")
	require.Equal(t, "nobody", w.who("10.96.0.8:53"), "UDP")
	require.Equal(t, "nobody of dns.default.svc.cluster.local", w.who("10.96.0.10:53"))
	require.Equal(t, "p of dns.default.svc.cluster.local", w.who("10.244.0.5:5353"))
	require.Equal(t, "p of dns.default.svc.cluster.local", w.who("10.244.0.5:5300"), "its only service of TCP")
	require.Equal(t, "headless-0 of headless.default.svc.cluster.local", w.who("10.244.0.6:7000"))
	require.Equal(t, "nobody", w.who("192.0.2.77:80"))
	require.Equal(t, identity.Held{Workloads: 2, Services: 3}, w.Held())

	// An alias becomes a service, and a service an alias.
	ctx := context.Background()
	alias = alias.DeepCopy()
	alias.Spec.Type = corev1.ServiceTypeClusterIP
	w.do(w.client.CoreV1().Services("default").Update(ctx, alias, metav1.UpdateOptions{}))
	dual = dual.DeepCopy()
	dual.Spec.Type = corev1.ServiceTypeExternalName
	w.do(w.client.CoreV1().Services("default").Update(ctx, dual, metav1.UpdateOptions{}))
	w.becomes("10.96.0.9:80", "nobody of alias.default.svc.cluster.local")
	require.Eventually(t, func() bool { return w.Held().Services == 3 }, within, often)
	require.Equal(t, "nobody of dual.default.svc.cluster.local", w.who("10.96.0.1:80"), "kube-proxy's rules go later")
}

func TestAServiceWithoutASelector(t *testing.T) {
	ctx := context.Background()
	w := startWorld(t,
		serviceOf("database", "10.96.0.1", servicePort("", 5432, nil)),
		sliceFor("database", "database-xk2p", map[string]int32{"": 5433}, toAddress("192.0.2.10"), toAddress("192.0.2.11")))
	require.Equal(t, "database of database.default.svc.cluster.local", w.who("192.0.2.10:5433"))
	outside, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("192.0.2.11:5433")}, time.Now())
	require.Equal(t, identity.Names{
		Workload: "database", CanonicalService: "database", CanonicalRevision: "latest", Namespace: "default", Principal: "-", Cluster: "Kubernetes",
	}, outside.Names.Value())
	require.Equal(t, identity.Held{Workloads: 2, Services: 1}, w.Held())

	w.do(w.client.DiscoveryV1().EndpointSlices("default").Update(ctx,
		sliceFor("database", "database-xk2p", map[string]int32{"": 5433}, toAddress("192.0.2.11"), toAddress("192.0.2.12")), metav1.UpdateOptions{}))
	w.becomes("192.0.2.12:5433", "database of database.default.svc.cluster.local")
	w.becomes("192.0.2.10:5433", "nobody")
	require.Equal(t, "database of database.default.svc.cluster.local", w.who("192.0.2.11:5433"))

	require.NoError(t, w.client.CoreV1().Services("default").Delete(ctx, "database", metav1.DeleteOptions{}))
	w.becomes("192.0.2.11:5433", "nobody")
	require.Equal(t, identity.Held{}, w.Held())
	w.do(w.client.CoreV1().Services("default").Create(ctx, serviceOf("database", "10.96.0.1", servicePort("", 5432, nil)), metav1.CreateOptions{}))
	w.becomes("192.0.2.11:5433", "database of database.default.svc.cluster.local")
	require.NoError(t, w.client.DiscoveryV1().EndpointSlices("default").Delete(ctx, "database-xk2p", metav1.DeleteOptions{}))
	w.becomes("192.0.2.11:5433", "nobody")
	require.Equal(t, identity.Held{Services: 1}, w.Held())
}

func TestTheNodesNetwork(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "10.1.1.1"}, // a name that looks like an address
			{Type: corev1.NodeInternalIP, Address: "172.18.0.2"},
			{Type: corev1.NodeInternalIP, Address: "fd00:18::2"},
			{Type: corev1.NodeExternalIP, Address: "192.0.2.2"},
		}},
	}
	proxy, exporter := podOf("proxy", "172.18.0.2"), podOf("exporter", "172.18.0.2")
	proxy.Spec.HostNetwork, exporter.Spec.HostNetwork = true, true
	w := startWorld(t, node, proxy, exporter,
		serviceOf("exporter", "None", servicePort("", 9100, nil)),
		sliceFor("exporter", "exporter-1", map[string]int32{"": 9100}, toPod("exporter", "172.18.0.2")),
		serviceOf("kubernetes", "10.96.0.1", servicePort("https", 443, 6443)),
		sliceFor("kubernetes", "kubernetes", map[string]int32{"https": 6443}, toAddress("172.18.0.2")))
	require.Equal(t, "exporter of exporter.default.svc.cluster.local", w.who("172.18.0.2:9100"))
	require.Equal(t, "kubernetes of kubernetes.default.svc.cluster.local", w.who("172.18.0.2:6443"), "the API server")
	for _, address := range []string{"172.18.0.2:10250", "[fd00:18::2]:9", "192.0.2.2:9"} {
		require.Equal(t, "node-1", w.who(address))
	}
	require.Equal(t, "nobody", w.who("10.1.1.1:9"))
	named, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("172.18.0.2:10250")}, time.Now())
	require.Equal(t, "node/node-1", named.UID)
	require.Equal(t, identity.Names{
		Workload: "node-1", CanonicalService: "node-1", CanonicalRevision: "latest", Namespace: "-", Principal: "-", Cluster: "Kubernetes",
	}, named.Names.Value())

	require.NoError(t, w.client.CoreV1().Nodes().Delete(context.Background(), "node-1", metav1.DeleteOptions{}))
	w.becomes("192.0.2.2:9", "nobody")
}

func TestAnAddressIsGivenOn(t *testing.T) {
	ctx := context.Background()
	w := startWorld(t, podOf("first", "10.244.0.5"))
	pods := w.client.CoreV1().Pods("default")
	who := func(at time.Time) string {
		p, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}, at)
		if p == nil {
			return "nobody"
		}
		return p.Name
	}
	require.Equal(t, "first", who(time.Now()))

	before := time.Now()
	require.NoError(t, pods.Delete(ctx, "first", metav1.DeleteOptions{}))
	w.becomes("10.244.0.5:80", "nobody")
	w.do(pods.Create(ctx, podOf("second"), metav1.CreateOptions{}))
	w.do(pods.UpdateStatus(ctx, podOf("second", "10.244.0.5"), metav1.UpdateOptions{}))
	w.becomes("10.244.0.5:80", "second")
	require.Equal(t, "first", who(before), "a connection of the first one's")

	done := podOf("second", "10.244.0.5")
	done.Status.Phase = corev1.PodSucceeded
	before = time.Now()
	w.do(pods.UpdateStatus(ctx, done, metav1.UpdateOptions{}))
	w.becomes("10.244.0.5:80", "nobody")
	require.Equal(t, "second", who(before))
	require.Equal(t, identity.Held{}, w.Held())
	failed := podOf("third", "10.244.0.5")
	failed.Status.Phase = corev1.PodFailed
	w.do(pods.Create(ctx, failed, metav1.CreateOptions{}))
	w.do(pods.Create(ctx, podOf("fourth", "10.244.0.6"), metav1.CreateOptions{}))
	w.becomes("10.244.0.6:80", "fourth")
	require.Equal(t, "nobody", w.who("10.244.0.5:80"), "it was terminated before it was reported")
}

func forbid(client *fake.Clientset, verb, resource string) {
	refuse := func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("RBAC says no"))
	}
	client.PrependReactor(verb, resource, refuse)
}

func TestAForbiddenListNamesTheRule(t *testing.T) {
	w := newWorld(t, podOf("p", "10.244.0.5"))
	forbid(w.client, "list", "endpointslices")
	forbid(w.client, "list", "nodes")
	require.NoError(t, w.Start(context.Background()))
	for _, rule := range []string{
		`does not allow to list endpointslices: give the collector's service account a ClusterRole with the rule ` +
			`{apiGroups: ["discovery.k8s.io"], resources: [endpointslices], verbs: [get, list, watch]}`,
		`{apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}`,
	} {
		require.Eventually(t, func() bool { // a kind that fails later than the others is reported later
			all := w.heard()
			return len(all) > 0 && strings.Contains(all[len(all)-1].Error(), rule)
		}, within, often, rule)
	}
	require.False(t, w.InSync())
	w.becomes("10.244.0.5:80", "p")

	w.client.Lock()
	w.client.ReactionChain = w.client.ReactionChain[2:]
	w.client.Unlock()
	require.Eventually(t, func() bool { all := w.heard(); return all[len(all)-1] == nil }, within, often)
	require.True(t, w.InSync())
	for i, err := range w.heard()[1:] {
		require.NotEqual(t, w.heard()[i], err, "reported on changes only")
	}
}

func TestTheAPIServerIsNotThereYet(t *testing.T) {
	w := &world{t: t}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`{clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}],
		contexts: [{name: x, context: {cluster: c}}]}`), 0o600))
	t.Setenv("KUBECONFIG", path)
	source, err := New(&Config{AuthType: AuthKubeConfig, Context: "x"}, identity.SourceSettings{OnStatus: w.hear})
	require.NoError(t, err)
	require.NoError(t, source.Start(context.Background()), "it must not wait")
	const message = "cannot watch nodes, services, endpointslices, pods, and retries: dial tcp 127.0.0.1:9: connect: connection refused"
	require.Eventually(t, func() bool { // a kind that fails later than the others is reported later
		all := w.heard()
		return len(all) > 0 && strings.Contains(all[len(all)-1].Error(), message)
	}, within, often)
	require.False(t, source.InSync())
	require.NoError(t, source.Close())
}

func TestWrongSettings(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	for auth, want := range map[string]string{
		AuthServiceAccount: "run in a pod with a service account, or write auth_type: kubeConfig",
		AuthKubeConfig:     "set KUBECONFIG to a kubeconfig's path",
		AuthNone:           "set them to the API server's address and port",
		"token":            `"token" is not known: write serviceAccount, kubeConfig or none`,
	} {
		_, err := New(&Config{AuthType: auth}, identity.SourceSettings{})
		require.ErrorContains(t, err, want)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	config, err := (&Config{AuthType: AuthNone}).rest()
	require.NoError(t, err)
	require.Equal(t, "https://[fd00::1]:443", config.Host)
}

func TestASourceCanBeClosedAtAnyTime(t *testing.T) {
	w := newWorld(t)
	require.False(t, w.InSync())
	require.NoError(t, w.Close(), "before Start")
	w = startWorld(t)
	require.NoError(t, w.Close())
	require.NoError(t, w.Close(), "twice")
}
