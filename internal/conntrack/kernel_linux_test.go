// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"io"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// dnat makes a host whose packets to two service addresses go to the pod, and the pod, which listens.
func dnat(t testing.TB) (host *testhost.Host, listeners []net.Listener) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Fatal("nft is missing: install nftables")
	}
	network := testhost.NewNetwork(t)
	host = network.Host("client", "10.244.0.10/24", "fd00:244::10/64")
	server := network.Host("server", "10.244.0.11/24", "fd00:244::11/64")
	host.Run("ip", "route", "add", "10.96.0.0/16", "dev", "eth0")
	host.Run("ip", "route", "add", "fd00:96::/64", "dev", "eth0")
	host.Run("nft", `add table inet kube; add chain inet kube out { type nat hook output priority -100; };
		add rule inet kube out ip daddr 10.96.5.5 tcp dport 8000 dnat ip to 10.244.0.11:80;
		add rule inet kube out ip6 daddr fd00:96::5 tcp dport 8000 dnat ip6 to [fd00:244::11]:80`)
	for _, address := range []string{"10.244.0.11:80", "[fd00:244::11]:80"} {
		var l net.Listener
		var err error
		server.Do(func() { l, err = net.Listen("tcp", address) })
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		listeners = append(listeners, l)
	}
	return host, listeners
}

func dial(t testing.TB, host *testhost.Host, address string) net.Conn {
	t.Helper()
	var c net.Conn
	var err error
	host.Do(func() { c, err = net.Dial("tcp", address) })
	require.NoError(t, err)
	return c
}

func openTable(t testing.TB, host *testhost.Host) *Table {
	t.Helper()
	x, err := OpenAt(host.Namespace(), zaptest.NewLogger(t))
	require.NoError(t, err)
	// A busy machine may take the CPU away between a query and its answer: these deadlines are later.
	x.now = func() time.Time { return time.Now().Add(firstPatience) }
	t.Cleanup(func() { require.NoError(t, x.Close()) })
	return x
}

func addresses(c net.Conn) (local, remote netip.AddrPort) {
	return netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
}

func TestTheKernelTellsThePodBehindAServicesAddress(t *testing.T) {
	host, listeners := dnat(t)
	x := openTable(t, host)
	for i, address := range []string{"10.96.5.5:8000", "[fd00:96::5]:8000"} {
		c := dial(t, host, address)
		local, remote := addresses(c)
		require.Equal(t, address, remote.String(), "the socket has the service's address")
		pod := listeners[i].Addr().String()

		to, ok := x.Translate(uint64(10*i+1), local, remote)
		require.True(t, ok, "%+v", x.Stats())
		require.Equal(t, pod, to.String())

		// The pod closes first, as servers do, and then the client: only conntrack is in TIME_WAIT.
		accepted, err := listeners[i].Accept()
		require.NoError(t, err)
		require.NoError(t, accepted.Close())
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		to, ok = x.Translate(uint64(10*i+2), local, remote)
		require.True(t, ok, "the entry outlives the connection")
		require.Equal(t, pod, to.String())

		_, ok = x.Translate(uint64(10*i+3), netip.AddrPortFrom(local.Addr(), local.Port()^1), remote)
		require.False(t, ok, "there was no such connection")

		c = dial(t, host, pod)
		local, remote = addresses(c)
		_, ok = x.Translate(uint64(10*i+4), local, remote)
		require.False(t, ok, "nothing translates it")
		require.NoError(t, c.Close())
	}
	require.Equal(t, Stats{Asked: 8, Missed: 2}, x.Stats())
}

func TestTheHostsTableCanBeOpened(t *testing.T) {
	testhost.RequireRoot(t)
	x, err := Open(zap.NewNop())
	require.NoError(t, err)
	require.NoError(t, x.Close())
}

func TestOpeningWithoutTheCapabilityNamesIt(t *testing.T) {
	testhost.RequireRoot(t)
	var err error
	testhost.OnThread(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&header, &none[0]); err == nil {
			_, err = open(0, zap.NewNop())
		}
	})
	require.ErrorIs(t, err, unix.EPERM)
	require.ErrorContains(t, err, "it needs CAP_NET_ADMIN")
}

func BenchmarkQuestion(b *testing.B) {
	host, _ := dnat(b)
	x := openTable(b, host)
	c := dial(b, host, "10.96.5.5:8000")
	defer func() { _ = c.Close() }()
	local, remote := addresses(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.ask(local, remote, patience); err != nil {
			b.Fatal(err)
		}
	}
}
