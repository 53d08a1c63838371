// SPDX-License-Identifier: Apache-2.0

package interfaces

import (
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

func TestTheAddressesOfThisProcess(t *testing.T) {
	own, err := Own()
	require.NoError(t, err)
	require.Contains(t, own, netip.MustParseAddr("127.0.0.1"))
	all, err := All()
	require.NoError(t, err)
	require.Subset(t, all, own)
	read := ofProcess("/proc/self")
	require.Contains(t, read, netip.MustParseAddr("127.0.0.1"))
	for _, a := range own {
		require.Contains(t, read, a, "what /proc shows is what netlink does")
	}
}

func TestTheAddressesOfANamespaceWithoutAProcess(t *testing.T) {
	network := testhost.NewNetwork(t)
	network.Host("pod", "10.244.77.5/24", "fd00:77::5/64")
	all, err := All()
	require.NoError(t, err)
	require.Contains(t, all, netip.MustParseAddr("10.244.77.5"))
	require.Contains(t, all, netip.MustParseAddr("fd00:77::5"))
	own, err := Own()
	require.NoError(t, err)
	require.NotContains(t, own, netip.MustParseAddr("10.244.77.5"), "this process is where it was")
}

func TestOnlyLocalAddressesOfATrieCount(t *testing.T) {
	text := `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 10.0.0.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.7
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
     |-- not an address
        /32 host LOCAL
`
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.0.7")}, parseTrie([]byte(text)))
	require.Empty(t, parseTrie(nil))
	require.Equal(t, []netip.Addr{netip.MustParseAddr("fe80::1")},
		parseInet6([]byte("fe800000000000000000000000000001 02 40 20 80 eth0\nfe80 short\nxy800000000000000000000000000001 02 40 20 80 eth0\n")))
	require.Empty(t, ofProcess("/proc/none"))
	require.Empty(t, ofNamed(os.DevNull))
}
