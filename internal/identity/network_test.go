// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func testNetworks() *Networks {
	n := new(Networks)
	n.Add("corp", netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"))
	n.Add("office", netip.MustParsePrefix("10.7.0.0/16"))
	n.Add("printer", netip.MustParsePrefix("10.7.0.9/32"), netip.MustParsePrefix("2001:db8:7::9/128"))
	return n
}

func TestTheNarrowestNetworkAnswers(t *testing.T) {
	n := testNetworks()
	for address, want := range map[string]string{
		"10.1.2.3": "corp", "10.7.1.1": "office", "10.7.0.9": "printer", "11.0.0.1": "", "0.0.0.0": "",
		"2001:db8::1": "corp", "2001:db8:7::9": "printer", "2001:db9::1": "",
		"::ffff:10.7.1.1": "office", "2001:db8::1%eth0": "corp",
	} {
		w := n.Lookup(netip.MustParseAddr(address))
		if want == "" {
			require.Nil(t, w, address)
			continue
		}
		require.Equal(t, want, w.Name, address)
		require.Equal(t, KindNetwork, w.Kind)
		require.True(t, n.Named(w.Names))
		require.Equal(t, Names{
			Workload: want, CanonicalService: want, CanonicalRevision: "-", Namespace: "-", Principal: "-", Cluster: "-",
		}, w.Names.Value())
	}
	require.Nil(t, n.Lookup(netip.Addr{}))
	require.False(t, n.Named(Names{Workload: "corp"}.Handle()))
}

func TestNoNetworksHaveNobody(t *testing.T) {
	var none *Networks
	require.Nil(t, none.Lookup(netip.MustParseAddr("10.0.0.1")))
	require.False(t, none.Named(bareNames("corp")))
}

func TestALookupOfANetworkCostsNoAllocation(t *testing.T) {
	n := testNetworks()
	inside, outside := netip.MustParseAddr("10.7.0.9"), netip.MustParseAddr("2001:db9::1")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		n.Lookup(inside)
		n.Lookup(outside)
	}))
}

func BenchmarkNetworks(b *testing.B) {
	n := testNetworks()
	for i := range 10_000 {
		n.Add("cloud", netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24))
	}
	for name, a := range map[string]netip.Addr{
		"inside": netip.MustParseAddr("20.1.7.9"), "outside": netip.MustParseAddr("2001:db9::1"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n.Lookup(a)
			}
		})
	}
}
