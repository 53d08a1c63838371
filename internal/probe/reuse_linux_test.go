// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// clientAddress is the source of all connections here, so that each has the same four-tuple.
var clientAddress = netip.MustParseAddrPort("10.244.0.10:40000")

// reuse connects from clientAddress to the listener, and sends up one way and down the other.
func reuse(t *testing.T, sleep *testhost.Host, listener *socket, up, down int) (client, server *socket) {
	t.Helper()
	client = newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	client.bind(clientAddress)
	client.connect(httpbinAddress)
	server = listener.accept()
	talk(client, server, up, down)
	return client, server
}

func talk(client, server *socket, up, down int) {
	client.send(up)
	server.receive(up)
	server.send(down)
	client.receive(down)
	client.acknowledged()
	server.acknowledged()
}

// verifyEach wants a record of each end of each connection, with its own id and bytes.
func verifyEach(t *testing.T, records []Record, connections map[payload]int) {
	t.Helper()
	ids := map[uint64]bool{}
	outbound, inbound := map[payload]int{}, map[payload]int{}
	for _, r := range records {
		assert.Equal(t, clientAddress, AddrPort(&r.Source))
		assert.Equal(t, KindClosed, r.Kind)
		assert.Equal(t, r.Total, r.Delta)
		assert.Equal(t, uint64(1), r.Total.Opened)
		assert.False(t, ids[r.Id], "one id for two ends")
		ids[r.Id] = true
		if r.Direction == Outbound {
			outbound[payload{r.Total.Sent, r.Total.Received}]++
		} else {
			inbound[payload{r.Total.Received, r.Total.Sent}]++
		}
	}
	assert.Equal(t, connections, outbound)
	assert.Equal(t, connections, inbound)
}

func TestReuseOfATupleIsAnotherConnection(t *testing.T) {
	p := open(t, Options{})
	for _, row := range []struct {
		name string
		end  func(t *testing.T, sleep, httpbin *testhost.Host, client, server *socket)
	}{
		{"at once after a reset", func(t *testing.T, _, _ *testhost.Host, client, server *socket) {
			client.reset()
			require.ErrorIs(t, server.drain(), unix.ECONNRESET)
			server.close()
		}},
		{"while the server is in TIME_WAIT", func(t *testing.T, _, _ *testhost.Host, client, server *socket) {
			server.shutdown()
			require.NoError(t, client.drain())
			client.close()
			require.NoError(t, server.drain())
			server.close()
		}},
		{"while the client is in TIME_WAIT", func(t *testing.T, sleep, _ *testhost.Host, client, server *socket) {
			sleep.Run("sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1")
			client.shutdown()
			require.NoError(t, server.drain())
			server.close()
			require.NoError(t, client.drain())
			client.close()
		}},
		{"while the server still has the first", func(t *testing.T, _, httpbin *testhost.Host, client, server *socket) {
			pass := drop(t, httpbin, "tcp dport 80")
			client.reset()
			pass()
			t.Cleanup(func() {
				assert.ErrorIs(t, server.drain(), unix.ECONNRESET)
				server.close()
			})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			sleep, httpbin := hosts(t)
			listener := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
			listener.listen(httpbinAddress, 16)
			client, server := reuse(t, sleep, listener, 100, 10)
			row.end(t, sleep, httpbin, client, server)
			client, server = reuse(t, sleep, listener, 2000, 200)
			client.reset()
			require.ErrorIs(t, server.drain(), unix.ECONNRESET)
			server.close()
			records := readUntil(t, p, toPort(80), atLeast(4))
			require.Len(t, records, 4)
			verifyEach(t, records, map[payload]int{{100, 10}: 1, {2000, 200}: 1})
		})
	}
}

// connect(2) with AF_UNSPEC gives a socket back what it was before it connected.
func TestReuseOfASocketThatDisconnectedIsAnotherConnection(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	listener := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	listener.listen(httpbinAddress, 16)
	client, server := reuse(t, sleep, listener, 100, 10)
	disconnect(t, client)
	require.ErrorIs(t, server.drain(), unix.ECONNRESET)
	server.close()

	client.connect(httpbinAddress) // from the port that it was bound to
	server = listener.accept()
	talk(client, server, 2000, 200)
	client.close()
	require.NoError(t, server.drain())
	server.close()
	records := readUntil(t, p, toPort(80), atLeast(4))
	require.Len(t, records, 4)
	verifyEach(t, records, map[payload]int{{100, 10}: 1, {2000, 200}: 1})
}

func disconnect(t *testing.T, s *socket) {
	t.Helper()
	unspecified := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&unspecified)), unix.SizeofSockaddrInet4)
	require.Zero(t, errno)
}

// The kernel's total of lost segments outlives a disconnect, unlike its other counters.
func TestReuseOfASocketDoesNotInheritWhatWasLost(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	listener := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	listener.listen(httpbinAddress, 16)
	client, server := reuse(t, sleep, listener, 100, 10)
	pass := drop(t, httpbin, "tcp dport 80")
	client.set(unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<17) // room for what nobody acknowledges
	client.send(50_000)
	client.eventually("something is lost", func(i *unix.TCPInfo) bool { return i.Lost > 0 && i.Total_retrans > 1 })
	pass()
	server.receive(50_000)
	disconnect(t, client)
	require.ErrorIs(t, server.drain(), unix.ECONNRESET)
	server.close()
	first := end(t, readUntil(t, p, toPort(80), atLeast(2)), uint32(Outbound), uint32(KindClosed))
	assert.Positive(t, first.Total.Lost)
	assert.Positive(t, first.Total.Retransmits)

	client.connect(httpbinAddress)
	server = listener.accept()
	talk(client, server, 1, 1)
	client.close()
	require.NoError(t, server.drain())
	server.close()
	second := end(t, readUntil(t, p, toPort(80), atLeast(2)), uint32(Outbound), uint32(KindClosed))
	assert.NotEqual(t, first.Id, second.Id)
	assert.Equal(t, Counters{Opened: 1, Sent: 1, Received: 1}, second.Total)
}
