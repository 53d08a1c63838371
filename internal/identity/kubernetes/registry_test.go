// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// theFirst is a list of all that was there before.
var theFirst = &list{round: 1}

func newTestRegistry(options ...identity.IndexOption) *registry {
	return newRegistry(testCluster, "node-1", time.Minute, identity.NewIndex(time.Minute, options...))
}

// serviceOfPod is the service behind which somebody has the address, for a connection that began at the time at.
func serviceOfPod(r *registry, address string, at time.Time) string {
	end := netip.MustParseAddrPort(address)
	w, _ := r.index.Resolve(identity.End{Address: end}, at)
	if w == nil {
		return "nobody"
	}
	s := r.index.Service(netip.AddrPort{}, end, w, at)
	if s == nil {
		return w.Name
	}
	return w.Name + " of " + s.Name
}

func TestTheOrderOfEventsDoesNotMatter(t *testing.T) {
	node := podOf("proxy", "172.18.0.2")
	node.Spec.HostNetwork = true
	old := sliceFor("web", "web-1", map[string]int32{"http": 80}, toPod("web-1", "10.244.0.6"), toAddress("192.0.2.1"))
	now := sliceFor("web", "web-1", map[string]int32{"http": 8080}, toPod("web-0", "10.244.0.5"), toAddress("192.0.2.2"))
	// Each is a queue of its own, as each resource is a watch of its own.
	queues := [][]func(r *registry){
		{func(r *registry) { r.setPod(testCluster.pod(podOf("web-0")), nil, noon) }, func(r *registry) { r.setPod(testCluster.pod(podOf("web-0", "10.244.0.5")), nil, noon) }},
		{func(r *registry) { r.setPod(testCluster.pod(podOf("web-1", "10.244.0.6")), nil, noon) }},
		{
			func(r *registry) {
				r.setService(testCluster.service(serviceOf("web", "10.96.0.1", servicePort("other", 80, "http"))), nil, noon)
			},
			func(r *registry) { r.removeService("default/web", noon) },
			func(r *registry) {
				r.setService(testCluster.service(serviceOf("web", "10.96.0.2", servicePort("http", 80, "http"))), nil, noon)
			},
		},
		{func(r *registry) { r.setSlice(sliceOf(old), nil, noon) }, func(r *registry) { r.setSlice(sliceOf(now), nil, noon) }},
		{func(r *registry) {
			r.setSlice(sliceOf(sliceFor("web", "web-v6", map[string]int32{"http": 8080}, toPod("web-0", "fd00::5"))), theFirst, noon)
		}},
	}
	for seed := range uint64(200) {
		random, r := rand.New(rand.NewPCG(seed, 0)), newTestRegistry()
		left := make([][]func(r *registry), len(queues))
		copy(left, queues)
		for n := 9; n > 0; n-- {
			i := random.IntN(len(left))
			for len(left[i]) == 0 {
				i = (i + 1) % len(left)
			}
			left[i][0](r)
			left[i] = left[i][1:]
		}
		r.tick(after(2))
		for address, want := range map[string]string{
			"10.244.0.5:8080": "web-0 of web", "10.244.0.6:80": "web-1", "192.0.2.1:80": "nobody", "192.0.2.2:8080": "web of web",
		} {
			require.Equal(t, want, serviceOfPod(r, address, after(3)), "%s, seed %d", address, seed)
		}
		require.Equal(t, identity.Held{Workloads: 3, Services: 1}, r.index.Held())
		web0 := r.pods["default/web-0"].workload
		require.Equal(t, []identity.Port{{Service: 80, Target: 8080}}, web0.Services[0].Ports)
		require.Empty(t, r.leaving)
	}
}

func TestADeletedPodKeepsItsServiceToTheLast(t *testing.T) {
	e := sliceFor("web", "web-1", map[string]int32{"": 80}, toPod("web-0", "10.244.0.5"))
	for _, c := range []struct {
		name string
		do   func(r *registry)
	}{
		{"word of its deletion comes first", func(r *registry) {
			r.removePod("default/web-0", after(10))
			r.removeSlice(sliceOf(e).key, after(10))
		}},
		{"word of the endpoint's end comes first", func(r *registry) {
			r.removeSlice(sliceOf(e).key, after(10))
			r.tick(after(10.5))
			r.removePod("default/web-0", after(11))
		}},
	} {
		r := newTestRegistry()
		r.setService(testCluster.service(serviceOf("web", "None", servicePort("", 80, nil))), theFirst, noon)
		r.setSlice(sliceOf(e), theFirst, noon)
		r.setPod(testCluster.pod(podOf("web-0", "10.244.0.5")), theFirst, noon)
		c.do(r)
		r.tick(after(30))
		require.Equal(t, "web-0 of web", serviceOfPod(r, "10.244.0.5:80", after(9)), c.name)
		require.Equal(t, "nobody", serviceOfPod(r, "10.244.0.5:80", after(12)), c.name)
		r.tick(after(80))
		require.Equal(t, "nobody", serviceOfPod(r, "10.244.0.5:80", after(9)), "it is forgotten")
		require.Empty(t, r.pods)
		require.Empty(t, r.claims)
		require.Empty(t, r.of)
		require.Empty(t, r.leaving)
	}
}

func TestAPodThatLeavesAServiceLingersBehindIt(t *testing.T) {
	r := newTestRegistry()
	e := sliceFor("web", "web-1", map[string]int32{"": 80}, toPod("web-0", "10.244.0.5"))
	r.setService(testCluster.service(serviceOf("web", "None", servicePort("", 80, nil))), theFirst, noon)
	r.setSlice(sliceOf(e), theFirst, noon)
	r.setPod(testCluster.pod(podOf("web-0", "10.244.0.5")), theFirst, noon)
	r.removeSlice(sliceOf(e).key, after(10))
	r.setPod(testCluster.pod(podOf("web-0", "10.244.0.5")), nil, after(11)) // any other event
	r.tick(after(11.9))
	require.Equal(t, "web-0 of web", serviceOfPod(r, "10.244.0.5:80", after(11.9)))
	r.tick(after(12))
	require.Equal(t, "web-0", serviceOfPod(r, "10.244.0.5:80", after(12)))

	r.setSlice(sliceOf(e), nil, after(20))
	r.removeSlice(sliceOf(e).key, after(30))
	r.setSlice(sliceOf(e), nil, after(31))
	r.tick(after(40))
	require.Equal(t, "web-0 of web", serviceOfPod(r, "10.244.0.5:80", after(40)), "it came back")
	require.Empty(t, r.leaving)
}

// A StatefulSet makes a deleted pod again by the same name: that one has what the new object says, and the old one what
// the old one said.
func TestAPodThatIsMadeAgainIsAnother(t *testing.T) {
	r := newTestRegistry()
	r.setPod(testCluster.pod(labelled(podOf("web-0", "10.244.0.5"), "version", "v1")), theFirst, noon)
	again := labelled(podOf("web-0", "10.244.0.5"), "version", "v2")
	again.UID = types.UID("another")
	r.setPod(testCluster.pod(again), nil, after(10))
	revision := func(at time.Time) string {
		w, _ := r.index.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}, at)
		return w.Names.Value().CanonicalRevision
	}
	require.Equal(t, "v1", revision(after(5)))
	require.Equal(t, "v2", revision(after(15)))

	relabelled := labelled(podOf("web-0", "10.244.0.5"), "version", "v3")
	relabelled.UID = again.UID
	r.setPod(testCluster.pod(relabelled), nil, after(20))
	require.Equal(t, "v1", revision(after(5)))
	require.Equal(t, "v3", revision(after(15)), "one pod has one name")
}

func TestEventsThatSayNothingNewChangeNothing(t *testing.T) {
	r := newTestRegistry()
	p := podOf("web-0", "10.244.0.5")
	r.setPod(testCluster.pod(p), theFirst, noon)
	before, kept := r.index.Generation(), r.pods["default/web-0"].workload
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	r.setPod(testCluster.pod(p), nil, after(1))
	require.Equal(t, before, r.index.Generation())
	require.Same(t, kept, r.pods["default/web-0"].workload)
}
