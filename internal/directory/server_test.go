// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"
	spb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
)

func TestAnAgentGetsWhatItAsksFor(t *testing.T) {
	w := newWorld(t)
	w.puts(pod("a", "node-1", "10.0.0.1"), pod("b", "node-2", "10.0.0.2", "fd00::2"))
	s := &identity.Service{Host: "s.default.svc.cluster.local", Name: "s", Namespace: "default", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")}}
	w.index.UpsertService(s, time.Now(), time.Now())
	a := w.agentOn("node-3")
	a.hears(nil, nil)
	a.subscribes("/10.0.0.2", "/10.96.0.1", "/10.0.0.9")
	response := a.hears([]string{uid("b"), "default/s.default.svc.cluster.local"}, []string{"/10.0.0.9"})
	decoded, err := istio.Decode(response.Resources[0].Resource.Value)
	require.NoError(t, err)
	require.Equal(t, "node-2", decoded.Workload.Node)
	require.Len(t, decoded.Workload.Addresses, 2)
	a.subscribes("/fd00::2")
	a.hears([]string{uid("b")}, nil)

	require.Equal(t, Stats{Agents: 1, Subscriptions: 4, Requests: 3, Responses: 3, Resources: 3, Removed: 1}, w.Stats())
	a.unsubscribes("/10.0.0.2", "/fd00::2", "/10.0.0.9")
	require.Eventually(t, func() bool { return w.Stats().Subscriptions == 1 }, within, often)
}

func TestAnAgentIsSentWhatChanges(t *testing.T) {
	w := newWorld(t)
	w.puts(pod("a", "", "10.0.0.1"))
	a := w.agentOn("node-3", "/10.0.0.1", "/10.0.0.2")
	a.hears([]string{uid("a")}, []string{"/10.0.0.2"})

	// Nobody had the address: unlike istiod, the directory reports who gets it.
	w.puts(pod("b", "", "10.0.0.2"))
	a.hears([]string{uid("b")}, nil)

	renamed := pod("b", "", "10.0.0.2")
	renamed.Names = identity.Names{Workload: "renamed"}.Handle()
	w.puts(renamed)
	a.hears([]string{uid("b")}, nil)
	w.puts(renamed, pod("not-asked-for", "", "10.0.0.3"))

	w.removes("a")
	a.hears(nil, []string{"/10.0.0.1", uid("a")})
	w.puts(pod("c", "", "10.0.0.1"))
	a.hears([]string{uid("c")}, nil)
	w.puts(pod("c", "", "10.0.0.4"))
	a.hears([]string{uid("c")}, []string{"/10.0.0.1"}) // where it is now
	require.Equal(t, uint64(0), w.Stats().Rejected)
}

func TestTheNodesOwnPodsAreSentWithoutBeingAskedFor(t *testing.T) {
	w := newWorld(t)
	w.puts(pod("own", "node-1", "10.0.0.1"), pod("other", "node-2", "10.0.0.2"), pod("not-yet", "node-1"))
	a := w.agentOn("node-1")
	a.hears([]string{uid("own")}, nil)
	w.puts(pod("not-yet", "node-1", "10.0.0.3"), pod("another", "node-2", "10.0.0.4"))
	a.hears([]string{uid("not-yet")}, nil)
	w.removes("own")
	a.hears(nil, []string{uid("own")})
	w.puts(pod("not-yet", "node-2", "10.0.0.5"))
	a.hears([]string{uid("not-yet")}, nil) // it is elsewhere now
	w.removes("not-yet")
	w.puts(pod("last", "node-1", "10.0.0.6"))
	a.hears([]string{uid("last")}, nil)
}

func TestAnAgentThatComesBackGetsWhatIsNew(t *testing.T) {
	w, replica := newWorld(t), newWorld(t)
	for _, each := range []*world{w, replica} {
		each.puts(pod("same", "", "10.0.0.1"), pod("own", "node-1", "10.0.0.5"))
	}
	w.puts(pod("gone", "", "10.0.0.2"), pod("changed", "", "10.0.0.3"))
	a := w.agentOn("node-1", "/10.0.0.1", "/10.0.0.2", "/10.0.0.3")
	response := a.hears([]string{uid("changed"), uid("gone"), uid("own"), uid("same")}, nil)
	versions := make(map[string]string)
	for _, r := range response.Resources {
		versions[r.Name] = r.Version
	}

	changed := pod("changed", "", "10.0.0.3")
	changed.Names = identity.Names{Workload: "renamed"}.Handle()
	replica.puts(changed, pod("new", "", "10.0.0.2"))
	b := replica.connect()
	b.says(&discovery.DeltaDiscoveryRequest{
		Node:                    nodeOf("node-1"),
		ResourceNamesSubscribe:  []string{"/10.0.0.1", "/10.0.0.2", "/10.0.0.3"},
		InitialResourceVersions: versions,
	})
	b.hears([]string{uid("changed"), uid("new")}, []string{uid("gone")})
	replica.removes("same")
	b.hears(nil, []string{"/10.0.0.1", uid("same")})
}

func TestWhatIsAskedForByItsNameIsAnsweredOnce(t *testing.T) {
	w := newWorld(t)
	w.puts(pod("a", "", "10.0.0.1"))
	a := w.agentOn("", uid("a"), "default/no.such.host", "another-network/10.0.0.1")
	a.hears([]string{uid("a")}, []string{"another-network/10.0.0.1", "default/no.such.host"})
}

func TestAnAddressThatIsAskedForAgainIsAnsweredAgain(t *testing.T) {
	w := newWorld(t)
	w.puts(pod("a", "", "10.0.0.1"))
	a := w.agentOn("", "/10.0.0.1", "/10.0.0.2")
	a.hears([]string{uid("a")}, []string{"/10.0.0.2"})
	a.subscribes("/10.0.0.1", "/10.0.0.2")
	a.hears([]string{uid("a")}, []string{"/10.0.0.2"})
	a.unsubscribes("/10.0.0.1", "/10.0.0.2")
	a.subscribes("/10.0.0.1", "/10.0.0.2")
	a.hears([]string{uid("a")}, []string{"/10.0.0.2"})
}

func TestWhatTheDirectoryDoesNotHave(t *testing.T) {
	w := newWorld(t)
	a := w.connect()
	a.says(&discovery.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{"*"}})
	a.fails("set identity.istio.on_demand of the receiver kmesh to true")
	b := w.connect()
	require.NoError(t, b.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster"}))
	b.fails("resources of the type type.googleapis.com/istio.workload.Address only")
	c := w.agentOn("")
	c.hears(nil, nil)
	var many []string
	for i := range 1001 {
		many = append(many, fmt.Sprintf("/10.1.%d.%d", i>>8, i&255))
	}
	c.subscribes(many...)
	for {
		if _, err := c.Recv(); err != nil {
			require.ErrorContains(t, err, "more than 1000 addresses")
			break
		}
	}
	require.Eventually(t, func() bool { return w.Stats().Agents == 0 && w.Stats().Subscriptions == 0 }, within, often)
	require.EqualValues(t, 3, w.Stats().Refused)
	require.Empty(t, w.byAddress)
}

func TestAnAgentThatCannotUseAnAnswerIsCounted(t *testing.T) {
	w := newWorld(t)
	a := w.agentOn("node-1", "/10.0.0.1")
	response := a.hears(nil, []string{"/10.0.0.1"})
	a.says(&discovery.DeltaDiscoveryRequest{ResponseNonce: response.Nonce, ErrorDetail: &spb.Status{Message: "malformed"}})
	require.Eventually(t, func() bool { return w.Stats().Rejected == 1 }, within, often)
}

func TestNobodyIsServedWhileTheClusterIsNotWatched(t *testing.T) {
	w := newWorld(t)
	a := w.agentOn("node-1")
	a.hears(nil, nil)
	w.Serve(false)
	a.fails("does not watch the cluster")
	b := w.agentOn("node-1")
	b.fails("does not watch the cluster")
	w.Serve(true)
	c := w.agentOn("node-1")
	c.hears(nil, nil)
	w.Close()
	c.fails("does not watch the cluster")
	w.Serve(true)
	d := w.agentOn("node-1")
	d.fails("does not watch the cluster")
	require.Eventually(t, func() bool { return w.Stats().Agents == 0 }, within, often)
	require.Empty(t, w.byNode)
}

func TestAnAnswerWaitsUntilItIsCertain(t *testing.T) {
	gap := identity.NewGap()
	index := identity.NewIndex(time.Minute, identity.WithGap(gap, 0))
	w := newWorldOver(t, index)
	a := w.agentOn("node-1")
	a.hears(nil, nil)
	gap.Begin(time.Now())
	a.subscribes("/10.0.0.1")
	require.Never(t, func() bool { return w.Stats().Responses > 1 }, 4*doubtInterval, doubtInterval)
	w.puts(pod("a", "", "10.0.0.1"))
	gap.End()
	a.hears([]string{uid("a")}, nil)
}

func TestAnAgentThatDoesNotReadHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	w.maxLocal = 100
	slow, fast := w.agentOn("node-1"), w.agentOn("node-1")
	fast.hears(nil, nil)
	// More than fits into the connection's windows, while one reads and the other does not.
	for i := range 400 {
		name := fmt.Sprintf("pod-%d", i)
		w.puts(pod(name, "node-1", "10.0.0.1"))
		fast.hears([]string{uid(name)}, nil)
		w.removes(name)
		fast.hears(nil, []string{uid(name)})
	}
	for i := range 2 * w.maxLocal {
		w.puts(pod(fmt.Sprintf("more-%d", i), "node-1", "10.0.0.2"))
		fast.hears([]string{uid(fmt.Sprintf("more-%d", i))}, nil)
	}
	require.Eventually(t, func() bool { return w.Stats().Agents == 1 }, within, often, "one that reads nothing at all begins anew")
	for {
		if _, err := slow.Recv(); err != nil {
			require.ErrorContains(t, err, "does not read")
			break
		}
	}
}

// A subscription's memory is what docs/scaling.md says.
func TestMemoryOfASubscription(t *testing.T) {
	w := newWorld(t)
	w.bounds.Subscriptions = 1 << 20
	const n = 20_000
	for i := range n {
		w.puts(pod(fmt.Sprintf("pod-%d", i), "", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)))
	}
	st := newStream(w.Server, &discovery.DeltaDiscoveryRequest{})
	require.NotNil(t, w.add(st))
	before := heap()
	for i := range n {
		require.NoError(t, st.subscribe(fmt.Sprintf("/10.%d.%d.%d", i>>16, i>>8&255, i&255)))
	}
	require.Len(t, st.response().Resources, n)
	each := (heap() - before) / n
	t.Logf("%d bytes a subscription", each)
	require.Less(t, each, uint64(512))
	w.remove(st)
}
