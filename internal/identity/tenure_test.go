// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const theAddress = "10.244.0.5"

// rounded is the span of a pod whose kubelet reports whole seconds.
func rounded(from, reported float64) Span {
	sure := after(from).Add(time.Second)
	if now := after(reported); now.Before(sure) {
		sure = now
	}
	return Span{From: after(from), Sure: sure}
}

func TestAnAddressThatChangesHandsWithinASecond(t *testing.T) {
	t.Run("the end was reported before the beginning", func(t *testing.T) {
		x := NewIndex(time.Minute)
		x.Upsert(pod("old", theAddress), after(0), after(0))
		x.Remove("old", after(100.6))
		x.Put(pod("new", theAddress), rounded(100, 100.8), after(100.8))
		for at, want := range map[float64]string{100: "old", 100.5: "old", 100.6: "new", 100.7: "new", 101: "new"} {
			require.Equal(t, want, who(x, theAddress+":80", after(at)), "%v", at)
		}
	})
	t.Run("and after it", func(t *testing.T) {
		x := NewIndex(time.Minute)
		x.Upsert(pod("old", theAddress), after(0), after(0))
		x.Put(pod("new", theAddress), rounded(100, 100.5), after(100.5))
		require.Equal(t, "nobody, yet", who(x, theAddress+":80", after(100.3)), "the end of the old one may be reported yet")
		require.Equal(t, "new", who(x, theAddress+":80", after(100.5)), "it has the address for certain")
		x.Remove("old", after(100.8))
		require.Equal(t, "old", who(x, theAddress+":80", after(99.9)))
		require.Equal(t, "nobody", who(x, theAddress+":80", after(100.3)), "it may be either's")
		require.Equal(t, "new", who(x, theAddress+":80", after(100.6)))
	})
	t.Run("a pod that ended by itself", func(t *testing.T) {
		x := NewIndex(time.Minute)
		x.Upsert(pod("old", theAddress), after(0), after(0))
		x.RemoveAt("old", Span{Last: after(100), Until: after(101)}, after(102))
		require.Equal(t, "old", who(x, theAddress+":80", after(100.5)), "nobody else can have had it")
		x.Put(pod("new", theAddress), rounded(100, 103), after(103))
		require.Equal(t, "old", who(x, theAddress+":80", after(99.9)))
		require.Equal(t, "nobody", who(x, theAddress+":80", after(100.5)))
		require.Equal(t, "new", who(x, theAddress+":80", after(101)))
	})
}

func TestThePlaceDecidesBetweenTwoThatMayHaveTheAddress(t *testing.T) {
	x, _ := node()
	x.Upsert(pod("old", theAddress+"5").inPod(inA), after(0), after(0))
	x.Put(pod("new", theAddress+"5").inPod(inB), rounded(100, 100.5), after(100.5))
	x.Remove("old", after(100.8))
	for _, at := range []float64{100.3, 100.6, 103} {
		require.Equal(t, "old", local(x, theAddress+"5:80", inA, after(at)))
		require.Equal(t, "new", local(x, theAddress+"5:80", inB, after(at)))
	}
	require.Equal(t, "nobody", local(x, theAddress+"5:80", inProxy, after(100.3)), "the proxy speaks for one of them")
	require.Equal(t, "new", local(x, theAddress+"5:80", inProxy, after(103)))
}

func TestAShortLife(t *testing.T) {
	x, _ := node()
	short := func() *Workload { return pod("short").inPod(inA) }
	x.Remove("a", after(1))
	x.Upsert(short(), after(10), after(10))
	require.Equal(t, "short", local(x, "10.244.0.77:40000", inA, after(10.2)), "its address was not reported yet")
	x.Remove("short", after(11))
	require.Equal(t, "short", local(x, "10.244.0.77:40000", inA, after(10.2)), "and never will be")

	done := pod("done", "10.244.0.78").inPod(inB)
	x.Remove("b", after(12))
	x.Upsert(pod("done").inPod(inB), after(20), after(20))
	x.Put(done, Span{From: after(20), Sure: after(21), Last: after(20), Until: after(21)}, after(22))
	require.Equal(t, "done", who(x, "10.244.0.78:80", after(20.5)))
	require.Equal(t, "nobody, yet", who(x, "10.244.0.78:80", after(21)))
	require.Equal(t, "done", local(x, "10.244.0.78:80", inB, after(20.5)))
	require.True(t, x.Named(done.Names))
	x.Expire(after(82))
	require.Equal(t, "nobody, yet", who(x, "10.244.0.78:80", after(20.5)))
	require.Equal(t, "nobody, yet", local(x, "10.244.0.78:80", inB, after(20.5)))
	require.False(t, x.Named(done.Names))
	require.Empty(t, x.gone)
}

func TestWhenItBeganIsPutRight(t *testing.T) {
	x := NewIndex(time.Minute)
	x.Upsert(pod("old", theAddress), after(0), after(0))
	x.Remove("old", after(10))
	x.Upsert(pod("new", theAddress), after(30), after(30))
	require.Equal(t, "new", who(x, theAddress+":80", after(20)), "nothing shows when it began")
	renamed := pod("new", theAddress)
	renamed.Name = "renamed"
	x.Put(renamed, rounded(28, 31), after(31))
	require.Equal(t, "nobody, yet", who(x, theAddress+":80", after(20)), "it was not there yet")
	require.Equal(t, "new", who(x, theAddress+":80", after(27)), "a kubelet looks once a second")
}

func TestAGap(t *testing.T) {
	gap := NewGap()
	x, p := node(WithGap(gap, 10*time.Second))
	p.presence = map[PodUID]Presence{{77}: PresenceHere}
	x.Upsert(pod("remote", "10.244.1.5").inPod(88), after(0), after(0))
	before := x.Generation()
	gap.Begin(after(100))
	gap.Begin(after(150))
	require.NotEqual(t, before, x.Generation())
	require.Equal(t, 20*time.Second, gap.Lasts(after(120)))

	for _, c := range []struct {
		name, got, want string
	}{
		{"it began while all was known", who(x, "10.244.1.5:80", after(99)), "remote"},
		{"it may have passed on", who(x, "10.244.1.5:80", after(105)), "remote, yet"},
		{"nobody can say", who(x, "10.244.1.5:80", after(110.1)), "nobody, yet"},
		{"its cgroup shows that it is there", who(x, "10.244.0.5:80", after(500)), "own"},
		{"a process of the pod", local(x, "10.244.0.9:80", inProxy, after(500)), "proxy"},
		{"on the host's network", local(x, "192.0.2.1:80", inA, after(500)), "a"},
		{"of a pod that came meanwhile", local(x, "10.244.1.5:80", inStranger, after(500)), "nobody, yet"},
		{"the node", who(x, "192.0.2.1:5", after(500)), "node, yet"},
	} {
		require.Equal(t, c.want, c.got, c.name)
	}
	p.presence[PodUID{77}] = PresenceGone
	require.Equal(t, "nobody, yet", who(x, "10.244.0.5:80", after(101)), "its cgroup shows that it is gone")
	gap.End()
	require.Zero(t, gap.Lasts(after(120)))
	require.Equal(t, "remote", who(x, "10.244.1.5:80", after(120)))

	// Others may have come and gone meanwhile: the next holder of an address had it no earlier.
	began := time.Now()
	gap.Begin(began)
	gap.End()
	ended := time.Now()
	x.Upsert(pod("late", "10.244.1.9"), ended.Add(time.Second), ended.Add(time.Second))
	w, _ := x.Resolve(End{Address: netip.MustParseAddrPort("10.244.1.9:80")}, began)
	require.Nil(t, w)
	w, _ = x.Resolve(End{Address: netip.MustParseAddrPort("10.244.1.9:80")}, ended.Add(time.Millisecond))
	require.NotNil(t, w)

	// A workload that was found to be gone ended at an unknown time; others may have had the address since.
	x.RemoveAt("remote", Span{Last: after(100), Until: after(160), Unwatched: true}, after(160))
	require.Equal(t, "remote", who(x, "10.244.1.5:80", after(99)))
	require.Equal(t, "nobody", who(x, "10.244.1.5:80", after(100)))
}

func TestNothingIsSettledBeforeAllWasListed(t *testing.T) {
	x, _ := node()
	x.Incomplete(true)
	require.Equal(t, "own, yet", who(x, "10.244.0.5:80", after(1)))
	before := x.Generation()
	x.Incomplete(false)
	require.NotEqual(t, before, x.Generation())
	require.Equal(t, "own", who(x, "10.244.0.5:80", after(1)))
}

func TestAnAddressAloneDoesNotNameWhoIsElsewhere(t *testing.T) {
	x, p := node()
	remote := pod("remote", "10.244.1.5").inPod(88)
	remote.Elsewhere = true
	x.Upsert(remote, after(0), after(0))
	require.Equal(t, "remote", local(x, "10.244.1.5:80", inGone, after(1)), "our own node is not known")
	x.Placed()
	require.Equal(t, "remote", who(x, "10.244.1.5:80", after(1)), "the far end")
	require.Equal(t, "nobody", local(x, "10.244.1.5:80", inGone, after(1)), "an end of this node cannot be")
	require.Equal(t, "nobody", local(x, "10.244.1.5:80", inProxy, after(1)))
	require.Equal(t, "nobody", local(x, "10.244.1.5:80", 7, after(1)))

	p.of[7] = PodUID{}
	require.Equal(t, "own", local(x, "10.244.0.5:80", 7, after(1)), "whether the pod is here is not known")
	p.presence = map[PodUID]Presence{{77}: PresenceHere}
	require.Equal(t, "nobody", local(x, "10.244.0.5:80", 7, after(1)), "a process of the node is none of the pod's")
	require.Equal(t, "own", local(x, "10.244.0.5:80", inProxy, after(1)), "a proxy may be")
}

func TestAClaimIsWorthLessThanWhatIsThere(t *testing.T) {
	x := NewIndex(time.Minute)
	claim := func(uid, address string, since float64) {
		w := pod(uid, address).onHostNetwork().behind(uid, Port{10250, 10250})
		w.Claimed = true
		x.Upsert(w, after(since), after(50))
	}
	claim("first", "192.0.2.9", 10)
	claim("another", "192.0.2.9", 20)
	require.Equal(t, "first", who(x, "192.0.2.9:10250", after(51)))
	n := pod("node", "192.0.2.1").onHostNetwork()
	n.Node = true
	x.Upsert(n, ever, noon)
	claim("thief", "192.0.2.1", 10)
	require.Equal(t, "node", who(x, "192.0.2.1:10250", after(51)))
	x.Upsert(pod("own", "10.244.0.5"), ever, noon)
	claim("burglar", "10.244.0.5", 10)
	require.Equal(t, "own", who(x, "10.244.0.5:10250", after(51)))
}

func TestAStepOfTheWallClockMovesNoTenure(t *testing.T) {
	x := NewIndex(time.Minute)
	now := time.Now() // with a reading of the monotonic clock
	x.Put(pod("a", theAddress), Span{From: now.Round(0).Add(-5 * time.Second)}, now)
	w, _ := x.Resolve(End{Address: netip.MustParseAddrPort(theAddress + ":80")}, now.Add(-4*time.Second))
	require.NotNil(t, w)
	w, _ = x.Resolve(End{Address: netip.MustParseAddrPort(theAddress + ":80")}, now.Add(-9*time.Second))
	require.Nil(t, w)
}

func TestMomentsDoNotOverflow(t *testing.T) {
	require.Equal(t, never, never.add(time.Hour))
	require.Equal(t, always, always.add(-time.Hour))
	require.Positive(t, moment(0).since(always))
	require.Negative(t, always.since(moment(1)))
}
