// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// connected gives both ends of a connection that has carried bytes, and its listener.
func connected(t *testing.T, sleep, httpbin *testhost.Host) (client, server, listener *socket) {
	t.Helper()
	listener = newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	listener.listen(httpbinAddress, 16)
	client = newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	client.connect(httpbinAddress)
	server = listener.accept()
	talk(client, server, 1000, 300)
	return client, server, listener
}

// verifyOlder lets a connection that is older than the probe go on and end, and compares what both
// ends report. Whose they are is not always known.
func verifyOlder(t *testing.T, p *Probe, client, server *socket) {
	t.Helper()
	source := client.local()
	talk(client, server, 20, 5)
	client.shutdown()
	require.NoError(t, server.drain())
	server.close()
	require.NoError(t, client.drain())
	client.close()
	records := readUntil(t, p, func(r *Record) bool {
		return AddrPort(&r.Source) == source || AddrPort(&r.Destination) == source
	}, atLeast(2))
	require.Len(t, records, 2)
	outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
	inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
	for _, r := range []Record{outbound, inbound} {
		assert.Equal(t, source, AddrPort(&r.Source))
		assert.Equal(t, httpbinAddress, AddrPort(&r.Destination))
	}
	assert.Equal(t, Counters{Sent: 20, Received: 5}, outbound.Total)
	assert.Equal(t, Counters{Sent: 5, Received: 20}, inbound.Total)
}

func TestOlderConnectionsThatAreHardToFind(t *testing.T) {
	testhost.RequireRoot(t)
	for _, row := range []struct {
		name    string
		between func(t *testing.T, sleep *testhost.Host, client, server, listener *socket) (client2, server2 *socket, found func())
	}{
		{"the listener is gone", func(_ *testing.T, _ *testhost.Host, client, server, listener *socket) (*socket, *socket, func()) {
			listener.close()
			return client, server, nil
		}},
		{"another address listens on the client's port", func(t *testing.T, sleep *testhost.Host, client, server, _ *socket) (*socket, *socket, func()) {
			sleep.Run("ip", "addr", "add", "10.244.0.78/24", "dev", "eth0")
			address := netip.AddrPortFrom(netip.MustParseAddr("10.244.0.78"), client.local().Port())
			newSocket(t, sleep, address, unix.IPPROTO_TCP).listen(address, 1)
			return client, server, nil
		}},
		{"a socket is on its way between two processes", func(t *testing.T, _ *testhost.Host, client, server, _ *socket) (*socket, *socket, func()) {
			way, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			require.NoError(t, err)
			t.Cleanup(func() { _, _ = unix.Close(way[0]), unix.Close(way[1]) })
			require.NoError(t, unix.Sendmsg(way[0], []byte{0}, unix.UnixRights(server.fd), nil, 0))
			server.close()
			return client, server, func() {
				oob := make([]byte, unix.CmsgSpace(4))
				_, n, _, _, err := unix.Recvmsg(way[1], make([]byte, 1), oob, 0)
				require.NoError(t, err)
				messages, err := unix.ParseSocketControlMessage(oob[:n])
				require.NoError(t, err)
				fds, err := unix.ParseUnixRights(&messages[0])
				require.NoError(t, err)
				server.fd = fds[0]
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			sleep, httpbin := hosts(t)
			client, server, listener := connected(t, sleep, httpbin)
			client, server, found := row.between(t, sleep, client, server, listener)
			p := open(t, Options{})
			if found != nil {
				found()
			}
			verifyOlder(t, p, client, server)
		})
	}
}

// A connection that nobody has accepted yet has no file.
func TestAnOlderConnectionThatNobodyAcceptedYet(t *testing.T) {
	testhost.RequireRoot(t)
	sleep, httpbin := hosts(t)
	listener := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	listener.listen(httpbinAddress, 16)
	client := newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	client.connect(httpbinAddress)
	client.send(1000)
	client.acknowledged()
	p := open(t, Options{})
	server := listener.accept()
	server.receive(1000)
	verifyOlder(t, p, client, server)
}

// A process that ended left its sockets to the kernel, which still has to deliver what it wrote.
func TestAnOlderConnectionWithoutAProcess(t *testing.T) {
	testhost.RequireRoot(t)
	sleep, httpbin := hosts(t)
	client, server, _ := connected(t, sleep, httpbin)
	source := client.local()
	// More than the server's window takes, so that some of it waits.
	require.NoError(t, unix.SetNonblock(client.fd, true))
	fill := func() error {
		n, err := unix.Write(client.fd, make([]byte, 1<<16))
		client.wrote += uint64(max(n, 0))
		return err
	}
	client.eventually("the window is full", func(i *unix.TCPInfo) bool {
		return fill() != nil && i.Unacked == 0 && i.Notsent_bytes > 0
	})
	taken := client.info().Bytes_acked - 1 // the SYN
	client.close()
	p := open(t, Options{})
	require.NoError(t, server.drain())
	require.Equal(t, client.wrote, server.read)
	server.close()
	records := readUntil(t, p, func(r *Record) bool { return AddrPort(&r.Source) == source }, atLeast(2))
	outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
	inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
	assert.Zero(t, outbound.Total.Opened+inbound.Total.Opened)
	assert.Positive(t, outbound.Total.Sent)
	assert.LessOrEqual(t, outbound.Total.Sent, client.wrote-taken, "a probe of the window may have taken some bytes before")
	assert.Equal(t, outbound.Total.Sent, inbound.Total.Received)
}

// A process may keep the socket of a connection that was over before the probe was there.
func TestAConnectionThatWasOverBeforeIsNotReported(t *testing.T) {
	testhost.RequireRoot(t)
	sleep, httpbin := hosts(t)
	client, server, listener := connected(t, sleep, httpbin)
	client.reset()
	require.ErrorIs(t, server.drain(), unix.ECONNRESET)
	p := open(t, Options{})
	server.close()
	// A last one that is always reported marks the end of what can come.
	last := newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	last.connect(httpbinAddress)
	lastServer := listener.accept()
	last.reset()
	require.ErrorIs(t, lastServer.drain(), unix.ECONNRESET)
	lastServer.close()
	records := readUntil(t, p, toPort(80), atLeast(2))
	assert.Len(t, records, 2)
	for _, r := range records {
		assert.Zero(t, r.Total.Sent+r.Total.Received)
	}
}

// CRIU restores a connection without a handshake: no SYN is among the bytes.
func TestARestoredConnectionCountsItsBytes(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	clientAddress := netip.MustParseAddrPort("10.244.0.10:40000")
	newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP).listen(httpbinAddress, 1)
	client := newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	server := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	restore(client, clientAddress, httpbinAddress, 5000, 9000)
	restore(server, httpbinAddress, clientAddress, 9000, 5000)
	for _, s := range []*socket{client, server} {
		s.set(unix.IPPROTO_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_OFF)
	}
	talk(client, server, 100, 10)
	client.shutdown()
	require.NoError(t, server.drain())
	server.close()
	require.NoError(t, client.drain())
	client.close()
	records := readUntil(t, p, toPort(80), atLeast(2))
	require.Len(t, records, 2)
	outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
	inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
	assert.Equal(t, Counters{Opened: 1, Sent: 100, Received: 10}, outbound.Total)
	assert.Equal(t, Counters{Opened: 1, Sent: 10, Received: 100}, inbound.Total)
	assert.Equal(t, clientAddress, AddrPort(&inbound.Source))
}

// restore makes a socket an end of a connection that is there already.
func restore(s *socket, local, remote netip.AddrPort, send, receive int) {
	s.t.Helper()
	const receiveQueue, sendQueue = 1, 2
	s.set(unix.IPPROTO_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_ON)
	for queue, sequence := range map[int]int{sendQueue: send, receiveQueue: receive} {
		s.set(unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue)
		s.set(unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ, sequence)
	}
	require.NoError(s.t, unix.Bind(s.fd, sockaddr(local)))
	require.NoError(s.t, unix.Connect(s.fd, sockaddr(remote)))
}

// Both ends see the same two addresses, and agree. One loopback address alone may be what a redirect to a proxy leaves, which
// naming recognizes.
func TestAConnectionWithOneLoopbackAddressIsReportedAsAWhole(t *testing.T) {
	p := open(t, Options{})
	_, httpbin := hosts(t)
	for _, row := range []struct{ local, remote netip.AddrPort }{
		{netip.MustParseAddrPort("127.0.0.1:40000"), netip.MustParseAddrPort("10.244.0.11:80")},
		{netip.MustParseAddrPort("[::1]:40000"), netip.MustParseAddrPort("[fd00::11]:80")},
		{netip.MustParseAddrPort("10.244.0.11:40000"), netip.MustParseAddrPort("127.0.0.1:80")},
	} {
		listener := newSocket(t, httpbin, row.remote, unix.IPPROTO_TCP)
		listener.listen(row.remote, 16)
		client := newSocket(t, httpbin, row.remote, unix.IPPROTO_TCP)
		client.bind(row.local)
		client.connect(row.remote)
		server := listener.accept()
		talk(client, server, 1, 1)
		client.close()
		require.NoError(t, server.drain())
		server.close()
		listener.close()
	}
	// A last one that is always reported marks the end of what can come.
	listener := listen(t, httpbin, "10.244.0.11:81")
	client, server := pair(t, httpbin, listener)
	exchange(t, client, server, 1, 1)
	others := make(map[Direction]int)
	readUntil(t, p, func(r *Record) bool {
		if ours(r) && port(r) == 80 {
			others[r.Direction]++
		}
		return ours(r) && port(r) == 81
	}, atLeast(2))
	assert.Equal(t, map[Direction]int{Outbound: 3, Inbound: 3}, others)
}
