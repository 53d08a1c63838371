// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ever time.Time // zero: always
)

// after is a time so many seconds after noon.
func after(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

func pod(uid string, addresses ...string) *Workload {
	w := &Workload{UID: uid, Name: uid, Names: Names{Workload: uid, Namespace: "default"}.Handle()}
	for _, a := range addresses {
		w.Addresses = append(w.Addresses, netip.MustParseAddr(a))
	}
	return w
}

func (w *Workload) onHostNetwork() *Workload { w.HostNetwork = true; return w }

func (w *Workload) behind(host string, ports ...Port) *Workload {
	w.Services = append(w.Services, Membership{ServiceKey{"default", host}, ports})
	return w
}

// who resolves an ip:port, and says who it is and whether that is settled.
func who(x Resolver, addr string, at time.Time) string {
	w, settled := x.Resolve(End{Address: netip.MustParseAddrPort(addr)}, at)
	name := "nobody"
	if w != nil {
		name = w.UID
	}
	if !settled {
		name += ", yet"
	}
	return name
}

func TestAConnectionBelongsToWhoHadTheAddressWhenItBegan(t *testing.T) {
	x := NewIndex(time.Minute)
	x.Upsert(pod("old", "10.244.0.5"), after(0), after(0))
	x.Remove("old", after(100))
	x.Upsert(pod("new", "10.244.0.5"), after(110), after(110))
	for _, c := range []struct {
		name string
		at   time.Time
		want string
	}{
		{"long before anybody was known", after(-31), "nobody, yet"},
		{"a moment before the first word of the first", after(-30), "old"},
		{"in the first's tenure", after(50), "old"},
		{"at its beginning", after(0), "old"},
		{"at its last moment", after(99.999), "old"},
		{"at its end: the first was gone by then", after(100), "new"},
		{"between them: word of the second was late", after(105), "new"},
		{"in the second's", after(110), "new"},
		{"now", after(120), "new"},
	} {
		require.Equal(t, c.want, who(x, "10.244.0.5:80", c.at), c.name)
	}
	require.Equal(t, "nobody, yet", who(x, "10.244.0.6:80", after(120)), "another address")
}

func TestARemovedHolderAnswersUntilItIsForgotten(t *testing.T) {
	x := NewIndex(time.Minute)
	x.Upsert(pod("a", "10.244.0.5"), ever, after(0))
	x.Remove("a", after(10))
	x.Expire(after(69.9))
	require.Equal(t, "a", who(x, "10.244.0.5:80", after(9)))
	require.Equal(t, "nobody, yet", who(x, "10.244.0.5:80", after(11)), "it began after the removal")
	x.Expire(after(70))
	require.Equal(t, "nobody, yet", who(x, "10.244.0.5:80", after(9)))
	require.Zero(t, x.holders.histories.Size(), "a forgotten address must take no memory")
	require.Empty(t, x.holders.ended)
}

func TestBytesOfTheForgottenAreNotTheSuccessors(t *testing.T) {
	x := NewIndex(time.Minute)
	x.Upsert(pod("old", "10.244.0.5"), after(0), after(0))
	x.Remove("old", after(100))
	x.Upsert(pod("new", "10.244.0.5"), after(101), after(101))
	x.Expire(after(160))
	// It began within the lag of the new one's beginning: only the memory of the old one's end decides.
	require.Equal(t, "nobody", who(x, "10.244.0.5:80", after(99)))
	require.Equal(t, "new", who(x, "10.244.0.5:80", after(100)))
}

func TestAShortRetentionShortensTheLag(t *testing.T) {
	x := NewIndex(5 * time.Second)
	x.Upsert(pod("a", "10.244.0.5"), after(0), after(0))
	require.Equal(t, "a", who(x, "10.244.0.5:80", after(-5)))
	require.Equal(t, "nobody, yet", who(x, "10.244.0.5:80", after(-5.1)))
}

func TestAChangedWorkloadLosesItsOldAddresses(t *testing.T) {
	x := NewIndex(time.Minute)
	x.Upsert(pod("a", "10.244.0.5", "fd00::5"), ever, after(0))
	changed := pod("a", "fd00::5", "10.244.0.6")
	changed.Name = "renamed"
	x.Upsert(changed, after(10), after(10))

	require.Equal(t, "nobody, yet", who(x, "10.244.0.5:80", after(11)))
	require.Equal(t, "a", who(x, "10.244.0.5:80", after(9)), "a connection that began before the change")
	require.Equal(t, "a", who(x, "10.244.0.6:80", after(11)))
	w, settled := x.Resolve(End{Address: netip.MustParseAddrPort("[fd00::5]:80")}, after(5))
	require.True(t, settled)
	require.Equal(t, "renamed", w.Name, "an address that stays has the newest names, whenever the connection began")
	require.Equal(t, Held{Workloads: 1}, x.Held())

	x.Remove("a", after(20))
	require.Equal(t, "nobody, yet", who(x, "10.244.0.6:80", after(20)))
	require.Equal(t, "a", who(x, "10.244.0.6:80", after(19)))
	require.Equal(t, Held{}, x.Held())
}

func TestAddressesAreOneHoweverTheyAreWritten(t *testing.T) {
	x := NewIndex(time.Minute)
	x.Upsert(pod("a", "::ffff:10.244.0.5", "10.244.0.5", "fe80::1%eth0"), ever, noon)
	require.Equal(t, "a", who(x, "10.244.0.5:80", noon))
	require.Equal(t, "a", who(x, "[::ffff:10.244.0.5]:80", noon))
	require.Equal(t, "a", who(x, "[fe80::1]:80", noon))
	require.Equal(t, "a", who(x, "[fe80::1%eth1]:80", noon))
	x.Remove("a", noon)
	require.Equal(t, "nobody, yet", who(x, "10.244.0.5:80", noon), "listed twice, it is lost at once")
}

func TestOverlappingTenures(t *testing.T) {
	t.Run("the newer one: word of the older one's end is late", func(t *testing.T) {
		x := NewIndex(time.Minute)
		x.Upsert(pod("a", "10.244.0.5"), after(0), after(0))
		x.Upsert(pod("b", "10.244.0.5"), after(10), after(10))
		require.Equal(t, "a", who(x, "10.244.0.5:80", after(9)))
		require.Equal(t, "b", who(x, "10.244.0.5:80", after(10)))
	})
	t.Run("together: the lowest UID, in whatever order they come", func(t *testing.T) {
		for _, order := range [][]string{{"a", "b", "c"}, {"c", "b", "a"}, {"b", "a", "c"}} {
			x := NewIndex(time.Minute)
			for _, uid := range order {
				x.Upsert(pod(uid, "10.244.0.5"), ever, noon)
			}
			require.Equal(t, "a", who(x, "10.244.0.5:80", noon), "%v", order)
		}
	})
}

func TestHostNetworkWorkloadsShareTheNodesAddress(t *testing.T) {
	x := NewIndex(time.Minute)
	x.Upsert(pod("exporter", "172.18.0.2").onHostNetwork().behind("exporter", Port{9100, 9100}), ever, noon)
	require.Equal(t, "exporter", who(x, "172.18.0.2:5", noon), "alone")

	x.Upsert(pod("dns", "172.18.0.2").onHostNetwork().behind("dns", Port{53, 5353}), ever, noon)
	require.Equal(t, "exporter", who(x, "172.18.0.2:9100", noon), "its service's port")
	require.Equal(t, "dns", who(x, "172.18.0.2:5353", noon), "its service's target port")
	require.Equal(t, "nobody", who(x, "172.18.0.2:53", noon), "the service's own port is not the node's")
	require.Equal(t, "nobody", who(x, "172.18.0.2:10250", noon), "the kubelet is no pod")

	x.Upsert(pod("another", "172.18.0.2").onHostNetwork().behind("other", Port{9100, 9100}), after(1), after(1))
	require.Equal(t, "another", who(x, "172.18.0.2:9100", after(2)), "a tie goes to the lowest UID")
	x.Upsert(pod("own", "172.18.0.2"), ever, noon)
	require.Equal(t, "own", who(x, "172.18.0.2:9100", after(2)), "an address of its own")
}

func TestTheNodeAnswersForWhoeverIsOnItsNetwork(t *testing.T) {
	x := NewIndex(time.Minute)
	node := pod("node", "172.18.0.2").onHostNetwork()
	node.Node = true
	x.Upsert(node, ever, noon)
	require.Equal(t, "node", who(x, "172.18.0.2:5", noon))
	x.Upsert(pod("exporter", "172.18.0.2").onHostNetwork().behind("exporter", Port{9100, 9100}), ever, noon)
	require.Equal(t, "exporter", who(x, "172.18.0.2:9100", noon), "its service's port")
	require.Equal(t, "node", who(x, "172.18.0.2:10250", noon), "the kubelet, or the exporter as a client: nobody can know")
	x.Upsert(pod("dns", "172.18.0.2").onHostNetwork(), ever, noon)
	require.Equal(t, "node", who(x, "172.18.0.2:53", noon))
	x.Remove("node", noon)
	require.Equal(t, "nobody", who(x, "172.18.0.2:53", after(1)))
}

func TestTheGenerationMovesWithEveryAnswer(t *testing.T) {
	x := NewIndex(time.Minute)
	last := x.Generation()
	for _, step := range []struct {
		name  string
		moves bool
		do    func()
	}{
		{"a new workload", true, func() { x.Upsert(pod("a", "10.244.0.5"), ever, noon) }},
		{"the same again", false, func() { x.Upsert(pod("a", "10.244.0.5"), after(9), after(9)) }},
		{"changed", true, func() { x.Upsert(pod("a", "10.244.0.6"), after(9), after(9)) }},
		{"in a new service", true, func() { x.Upsert(pod("a", "10.244.0.6").behind("h"), after(9), after(9)) }},
		{"a new service", true, func() { x.UpsertService(&Service{Host: "h"}, ever, noon) }},
		{"the same service", false, func() { x.UpsertService(&Service{Host: "h"}, ever, noon) }},
		{"changed", true, func() { x.UpsertService(&Service{Host: "h", Ports: []Port{{80, 80}}}, ever, noon) }},
		{"no such service", false, func() { x.RemoveService(ServiceKey{"default", "h"}, noon) }},
		{"a service is gone", true, func() { x.RemoveService(ServiceKey{"", "h"}, noon) }},
		{"no such workload", false, func() { x.Remove("b", noon) }},
		{"a workload is gone", true, func() { x.Remove("a", noon) }},
	} {
		step.do()
		if step.moves {
			require.NotEqual(t, last, x.Generation(), step.name)
		} else {
			require.Equal(t, last, x.Generation(), step.name)
		}
		last = x.Generation()
	}
}

func TestReadersAndWritersRace(t *testing.T) {
	x := NewIndex(time.Second)
	stop := make(chan struct{})
	done := make(chan string)
	go func() {
		for {
			select {
			case <-stop:
				done <- ""
				return
			default:
			}
			// The address changes hands at a whole second, and has a holder at every moment.
			if got := who(x, "10.244.0.5:80", after(0)); got != "p0" && got != "nobody, yet" && got != "nobody" {
				done <- got
				return
			}
		}
	}()
	for i := range 2000 {
		x.Upsert(pod(fmt.Sprintf("p%d", i), "10.244.0.5"), after(float64(i)), after(float64(i)))
		x.Remove(fmt.Sprintf("p%d", i), after(float64(i+1)))
		x.Expire(after(float64(i)))
	}
	close(stop)
	require.Empty(t, <-done)
}

func TestNamesAreKnownUntilTheLastOfThemIsForgotten(t *testing.T) {
	x := NewIndex(time.Minute)
	names := Names{Workload: "httpbin"}.Handle()
	start := time.Now()
	x.Upsert(&Workload{UID: "a", Names: names}, start, start)
	x.Upsert(&Workload{UID: "b", Names: names}, start, start)
	x.Remove("a", start)
	x.Expire(start.Add(time.Hour))
	if !x.Named(names) {
		t.Fatal("b has them")
	}
	x.Upsert(&Workload{UID: "b", Names: Names{Workload: "other"}.Handle()}, start, start.Add(time.Hour))
	x.Expire(start.Add(time.Hour + 59*time.Second))
	if !x.Named(names) {
		t.Fatal("b had them less than a minute ago")
	}
	before := x.Generation()
	x.Expire(start.Add(time.Hour + time.Minute))
	if x.Named(names) {
		t.Fatal("nobody has them")
	}
	if x.Generation() == before {
		t.Fatal("nobody was notified")
	}
}

func TestTheSameAgainCanBeRemoved(t *testing.T) {
	x := NewIndex(time.Minute)
	x.Upsert(pod("a", "10.244.0.5"), ever, noon)
	x.Upsert(pod("a", "10.244.0.5"), ever, noon)
	x.Remove("a", after(1))
	require.Equal(t, "nobody, yet", who(x, "10.244.0.5:80", after(1)))
	require.Equal(t, Held{}, x.Held())
}
