// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// places is a Locator that knows what it was given; the key is the cgroup.
type places struct {
	of         map[uint64]PodUID
	sought     map[uint64]bool
	presence   map[PodUID]Presence
	generation uint64
}

func (p *places) Present(uid PodUID, _ time.Time) Presence { return p.presence[uid] }

func (p *places) Locate(process Process, _ time.Time) (PodUID, Place) {
	if p.sought[process.Cgroup] {
		return PodUID{}, PlaceSought
	}
	uid, ok := p.of[process.Cgroup]
	switch {
	case !ok:
		return PodUID{}, PlaceUnknown
	case uid == PodUID{}:
		return uid, PlaceHost
	}
	return uid, PlacePod
}

func (p *places) Generation() uint64 { return p.generation }

// The cgroups of the tests.
const (
	inHost = iota + 1
	inA
	inB
	inProxy
	inStranger
	inGone
)

func (w *Workload) inPod(n byte) *Workload { w.PodUID = PodUID{n}; return w }

// node is an index in which the pods a and b share the node's address 192.0.2.1.
func node(options ...IndexOption) (*Index, *places) {
	p := &places{of: map[uint64]PodUID{inHost: {}, inA: {inA}, inB: {inB}, inProxy: {inProxy}, inStranger: {inStranger}}, sought: map[uint64]bool{}}
	x := NewIndex(time.Minute, append(options, WithLocator(p))...)
	n := pod("node", "192.0.2.1").onHostNetwork()
	n.Node = true
	for _, w := range []*Workload{
		n, pod("a", "192.0.2.1").onHostNetwork().inPod(inA),
		pod("b", "192.0.2.1").onHostNetwork().inPod(inB).behind("b.default", Port{80, 8080}),
		pod("proxy", "10.244.0.9").inPod(inProxy), pod("own", "10.244.0.5").inPod(77),
	} {
		x.Upsert(w, after(0), after(0))
	}
	return x, p
}

// local resolves the end of a process in a cgroup.
func local(x *Index, addr string, cgroup uint64, at time.Time) string {
	w, settled := x.Resolve(End{Address: netip.MustParseAddrPort(addr), Local: &Process{PID: 42, Cgroup: cgroup}}, at)
	name := "nobody"
	if w != nil {
		name = w.UID
	}
	if !settled {
		name += ", yet"
	}
	return name
}

func TestThePlaceOfAProcessDecidesWhereAnAddressIsShared(t *testing.T) {
	x, _ := node()
	for _, c := range []struct {
		name   string
		addr   string
		cgroup uint64
		want   string
	}{
		{"a client in a pod", "192.0.2.1:40000", inA, "a"},
		{"a client in another", "192.0.2.1:40000", inB, "b"},
		{"a server in a pod, at another's port", "192.0.2.1:8080", inA, "a"},
		{"a process of the node", "192.0.2.1:40000", inHost, "node"},
		{"a process of the node at a pod's port", "192.0.2.1:8080", inHost, "node"},
		{"a cgroup that is gone: the port", "192.0.2.1:8080", inGone, "b"},
		{"a cgroup that is gone: the node", "192.0.2.1:40000", inGone, "node"},
		{"a pod that nobody knows", "192.0.2.1:40000", inStranger, "nobody, yet"},
		{"a pod's own address, whoever speaks for it", "10.244.0.5:40000", inProxy, "own"},
		{"a pod's own address, and a process of the node", "10.244.0.5:40000", inHost, "own"},
		{"loopback", "127.0.0.1:40000", inA, "a"},
		{"loopback of a pod with its own network", "127.0.0.1:40000", inProxy, "proxy"},
		{"loopback of the node", "127.0.0.1:40000", inHost, "nobody, yet"},
		{"an address that is not known, or not yet", "10.1.2.3:40000", inA, "a, yet"},
		{"an address that is not known, of the node", "10.1.2.3:40000", inHost, "nobody, yet"},
	} {
		require.Equal(t, c.want, local(x, c.addr, c.cgroup, after(10)), c.name)
	}
	require.Equal(t, "b", who(x, "192.0.2.1:8080", after(10)), "the other side is known by its port")
	require.Equal(t, "node", who(x, "192.0.2.1:9090", after(10)))
}

func TestAProcessThatIsSoughtIsWaitedFor(t *testing.T) {
	x, p := node()
	p.sought[inA] = true
	require.Equal(t, "node, yet", local(x, "192.0.2.1:40000", inA, after(10)))
	before := x.Generation()
	delete(p.sought, inA)
	p.generation++
	require.NotEqual(t, before, x.Generation())
	require.Equal(t, "a", local(x, "192.0.2.1:40000", inA, after(10)))
}

func TestTheLastBytesOfAPodOnTheHostsNetworkAreItsOwn(t *testing.T) {
	x, _ := node()
	x.Remove("a", after(100))
	require.Equal(t, "a", local(x, "192.0.2.1:40000", inA, after(10)))
	require.Equal(t, "a", local(x, "192.0.2.1:40000", inA, after(101)), "no other pod has its UID")
	x.Upsert(pod("a", "192.0.2.1").onHostNetwork().inPod(99), after(110), after(110)) // made again, of the same name
	require.Equal(t, "a", local(x, "192.0.2.1:40000", inA, after(10)))
	x.Expire(after(161))
	require.Equal(t, "nobody, yet", local(x, "192.0.2.1:40000", inA, after(10)))
}

func TestAPodsNewVersionTellsItsNewNames(t *testing.T) {
	x, _ := node()
	w := pod("a", "192.0.2.1").onHostNetwork().inPod(inA)
	w.Name = "renamed"
	x.Upsert(w, after(50), after(50))
	found, settled := x.Resolve(End{Address: netip.MustParseAddrPort("192.0.2.1:1"), Local: &Process{Cgroup: inA}}, after(10))
	require.True(t, settled)
	require.Equal(t, "renamed", found.Name)

	// A static pod that was changed back has the UID that it had.
	x.Upsert(pod("a", "192.0.2.1").onHostNetwork(), after(60), after(60))
	require.Equal(t, "a", local(x, "192.0.2.1:40000", inA, after(55)), "the one that was")
	again := *w
	x.Upsert(&again, after(70), after(70))
	require.Equal(t, "a", local(x, "192.0.2.1:40000", inA, after(75)))
	x.Expire(after(200))
	require.Equal(t, "a", local(x, "192.0.2.1:40000", inA, after(75)))
}

func TestPodUIDs(t *testing.T) {
	const digits = "1b4e28ba2fa111d2883f0016d3cca427"
	for text, ok := range map[string]bool{
		digits: true, strings.ToUpper(digits): true,
		"1b4e28ba-2fa1-11d2-883f-0016d3cca427": true, "1b4e28ba_2fa1_11d2_883f_0016d3cca427": true,
		"1b4e28ba-2fa1_11d2-883f-0016d3cca427": false, "1b4e28ba02fa1-11d2-883f-0016d3cca427": false,
		"": false, "a": false, digits + "0": false, strings.Repeat("g", 32): false, strings.Repeat("0", 32): false,
	} {
		uid, parsed := ParsePodUID(text)
		require.Equal(t, ok, parsed, text)
		if ok {
			require.Equal(t, digits, hex.EncodeToString(uid[:]))
		}
	}
}

func TestAProcessInItsPlaceAllocatesNothing(t *testing.T) {
	x, _ := node()
	end := End{Address: netip.MustParseAddrPort("192.0.2.1:40000"), Local: &Process{PID: 42, Cgroup: inA}}
	require.Zero(t, testing.AllocsPerRun(1000, func() { x.Resolve(end, after(10)) }))
}

// BenchmarkResolveLocal asks for processes of 30 pods on the host's network of one node, in a cluster of 10,000 others.
func BenchmarkResolveLocal(b *testing.B) {
	p := &places{of: map[uint64]PodUID{}}
	x, _ := town(10_000, WithLocator(p))
	for i := range 30 {
		p.of[uint64(i)] = PodUID{1, byte(i)}
		w := pod(string(rune('a'+i)), "192.0.2.1").onHostNetwork().inPod(1)
		w.PodUID[1] = byte(i)
		x.Upsert(w, ever, noon)
	}
	b.ReportAllocs()
	i := 0
	process, address := &Process{PID: 42}, netip.MustParseAddrPort("192.0.2.1:1")
	for b.Loop() {
		process.Cgroup = uint64(i % 30)
		if w, _ := x.Resolve(End{Address: address, Local: process}, noon); w == nil {
			b.Fatal("nobody")
		}
		i++
	}
}
