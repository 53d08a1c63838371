// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	established = bpf.TCPTcpStateTCP_ESTABLISHED
	closeWait   = bpf.TCPTcpStateTCP_CLOSE_WAIT
	synSent     = bpf.TCPTcpStateTCP_SYN_SENT
	synReceived = bpf.TCPTcpStateTCP_SYN_RECV
)

// servers are httpbin's addresses of both families.
var servers = []netip.AddrPort{
	netip.MustParseAddrPort("10.244.0.11:80"), netip.MustParseAddrPort("[fd00::11]:80"),
}

func to(address netip.AddrPort) func(*Record) bool {
	return func(r *Record) bool { return ours(r) && AddrPort(&r.Destination) == address }
}

// ending is what a record has of how a connection ended.
type ending struct {
	kind  bpf.TCPRecordKind
	state State
	error syscall.Errno
}

func endingOf(r *Record) ending { return ending{r.Kind, r.State, syscall.Errno(r.Error)} }

func TestEndsOfConnectsThatFail(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	httpbin.Run("nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }; "+
		"add rule inet t in tcp dport 81 drop; add rule inet t in tcp dport 82 reject with icmpx type host-unreachable; "+
		"add rule inet t in meta nfproto ipv4 tcp dport 83 reject with icmp type net-unreachable; "+
		"add rule inet t in meta nfproto ipv6 tcp dport 83 reject with icmpv6 type no-route; "+
		"add rule inet t in tcp dport 84 reject with icmpx type admin-prohibited")
	// One SYN is sent again after 1 s; 2 s later nobody waits any more.
	sleep.Run("sysctl", "-qw", "net.ipv4.tcp_syn_retries=1")

	// What an ICMP message says is not the same errno in both families.
	prohibited := map[bool]syscall.Errno{false: unix.EHOSTUNREACH, true: unix.EACCES}
	type attempt struct {
		name    string
		address netip.AddrPort
		client  *socket
		seen    syscall.Errno
		want    ending
	}
	var attempts []*attempt
	for _, server := range servers {
		for _, a := range []attempt{
			{name: "refused", address: netip.AddrPortFrom(server.Addr(), 80), seen: unix.ECONNREFUSED},
			{name: "timed out", address: netip.AddrPortFrom(server.Addr(), 81), seen: unix.ETIMEDOUT},
			{name: "host unreachable", address: netip.AddrPortFrom(server.Addr(), 82), seen: unix.EHOSTUNREACH},
			{name: "network unreachable", address: netip.AddrPortFrom(server.Addr(), 83), seen: unix.ENETUNREACH},
			{name: "prohibited", address: netip.AddrPortFrom(server.Addr(), 84), seen: prohibited[server.Addr().Is6()]},
		} {
			a.want = ending{KindFailed, synSent, a.seen}
			a.client = newSocket(t, sleep, a.address, unix.IPPROTO_TCP)
			a.client.begin(a.address) // together, because each takes its time
			attempts = append(attempts, &a)
		}
	}
	reported := map[netip.AddrPort][]Record{}
	for _, r := range readUntil(t, p, ours, atLeast(len(attempts))) {
		reported[AddrPort(&r.Destination)] = append(reported[AddrPort(&r.Destination)], r)
	}
	for _, a := range attempts {
		t.Run(fmt.Sprint(a.name, " ", a.address.Addr()), func(t *testing.T) {
			assert.ErrorIs(t, a.client.outcome(), a.seen)
			a.client.close()
			require.Len(t, reported[a.address], 1)
			r := reported[a.address][0]
			assert.Equal(t, a.want, endingOf(&r))
			assert.Equal(t, Counters{Retransmits: r.Total.Retransmits, Lost: r.Total.Lost}, r.Total)
			assert.Equal(t, r.Total, r.Delta)
			assert.Zero(t, r.Unsent)
		})
	}
}

// The application closed the socket before anybody answered.
func TestEndsOfAConnectThatIsGivenUp(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	drop(t, httpbin, "tcp dport 80")
	for _, server := range servers {
		client := newSocket(t, sleep, server, unix.IPPROTO_TCP)
		client.begin(server)
		client.close()
		r := end(t, readUntil(t, p, to(server), atLeast(1)), uint32(Outbound), uint32(KindFailed))
		assert.Equal(t, ending{KindFailed, synSent, 0}, endingOf(&r))
		assert.Zero(t, r.Unsent)
	}
}

// An RST that answers a SYN refuses it; only one that comes after the peer's own SYN is
// a reset. The two connect to each other here, and the server gives up.
func TestEndsOfAConnectThatIsResetHalfway(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	pass := drop(t, httpbin, "tcp dport 80")
	clients := []netip.AddrPort{netip.MustParseAddrPort("10.244.0.10:80"), netip.MustParseAddrPort("[fd00::10]:80")}
	var ends []*socket
	for i, address := range clients {
		client := newSocket(t, sleep, address, unix.IPPROTO_TCP)
		client.bind(address)
		client.begin(servers[i])
		server := newSocket(t, httpbin, servers[i], unix.IPPROTO_TCP)
		server.bind(servers[i])
		server.begin(address)
		client.inState(synReceived)
		server.close()
		ends = append(ends, client)
	}
	pass() // the client's next segment, which nobody waits for any more
	for _, client := range ends {
		assert.ErrorIs(t, client.outcome(), unix.ECONNRESET)
		client.close()
	}
	records := readUntil(t, p, func(r *Record) bool { return to(servers[0])(r) || to(servers[1])(r) }, atLeast(2))
	require.Len(t, records, 2)
	for _, r := range records {
		assert.Equal(t, Outbound, r.Direction)
		assert.Equal(t, ending{KindFailed, synReceived, unix.ECONNRESET}, endingOf(&r))
		assert.Zero(t, r.Total.Sent+r.Total.Received+r.Total.Opened)
	}
}

func TestEndsOfANonBlockingConnectThatSucceeds(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, address := range servers {
		listener := newSocket(t, httpbin, address, unix.IPPROTO_TCP)
		listener.listen(address, 16)
		client := newSocket(t, sleep, address, unix.IPPROTO_TCP)
		client.begin(address)
		require.NoError(t, client.outcome())
		server := listener.accept()
		client.close()
		require.NoError(t, server.drain())
		server.close()
		records := readUntil(t, p, to(address), atLeast(2))
		require.Len(t, records, 2)
		outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
		assert.Equal(t, ending{KindClosed, FinWait2, 0}, endingOf(&outbound))
		inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
		assert.Equal(t, ending{KindClosed, LastACK, 0}, endingOf(&inbound))
		assert.Equal(t, Counters{Opened: 1}, outbound.Total)
		assert.Equal(t, Counters{Opened: 1}, inbound.Total)
	}
}

func TestEndsOfAConnectWhoseFirstSYNWasLost(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	pass := drop(t, httpbin, "tcp dport 80")
	var clients, listeners []*socket
	for i, address := range servers {
		listeners = append(listeners, newSocket(t, httpbin, address, unix.IPPROTO_TCP))
		listeners[i].listen(address, 16)
		clients = append(clients, newSocket(t, sleep, address, unix.IPPROTO_TCP))
		clients[i].begin(address)
	}
	began := time.Now()
	pass()
	for i, address := range servers {
		require.NoError(t, clients[i].outcome())
		took := time.Since(began)
		server := listeners[i].accept()
		server.send(5)
		clients[i].receive(5)
		clients[i].close()
		require.NoError(t, server.drain())
		server.close()
		records := readUntil(t, p, to(address), atLeast(2))
		require.Len(t, records, 2)
		outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
		assert.Equal(t, Counters{Opened: 1, Received: 5, Retransmits: 1, Lost: outbound.Total.Lost}, outbound.Total)
		assert.GreaterOrEqual(t, outbound.Now-outbound.Start, uint64(took.Nanoseconds()), "it starts with the first SYN")
		inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
		assert.Equal(t, Counters{Opened: 1, Sent: 5}, inbound.Total)
	}
}

// count reads a counter of the host's from /proc/net/netstat, where a line of names is
// followed by one of values.
func count(t *testing.T, host *testhost.Host, name string) string {
	t.Helper()
	lines := strings.Split(host.Run("cat", "/proc/net/netstat"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		values := strings.Fields(lines[i+1])
		for j, field := range strings.Fields(lines[i]) {
			if field == name {
				return values[j]
			}
		}
	}
	require.Fail(t, "no such counter", name)
	return ""
}

// A client whose last part of the handshake the server had no room for believes in a
// connection that the server does not have: it has one end, which nobody acknowledged.
func TestEndsOfAConnectionThatFindsTheBacklogFull(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, address := range servers {
		listener := newSocket(t, httpbin, address, unix.IPPROTO_TCP)
		listener.listen(address, 0) // which has room for one
		before := count(t, httpbin, "ListenOverflows")
		pass := drop(t, httpbin, "tcp dport 80 tcp flags & syn == 0")
		clients := []*socket{
			newSocket(t, sleep, address, unix.IPPROTO_TCP), newSocket(t, sleep, address, unix.IPPROTO_TCP),
		}
		for _, client := range clients {
			client.connect(address)
		}
		pass()
		for _, client := range clients {
			client.send(100)
		}
		require.Eventually(t, func() bool { return count(t, httpbin, "ListenOverflows") != before }, within, 10*time.Millisecond)
		for _, client := range clients {
			client.reset()
		}
		server := listener.accept()
		require.ErrorIs(t, server.drain(), unix.ECONNRESET)
		require.Equal(t, uint64(100), server.read)
		server.close()
		listener.close()

		records := readUntil(t, p, to(address), atLeast(3))
		require.Len(t, records, 3, "two at the client, one at the server")
		inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
		assert.Equal(t, ending{KindClosed, established, unix.ECONNRESET}, endingOf(&inbound))
		assert.Equal(t, Counters{Opened: 1, Received: 100}, inbound.Total)
		sent := map[netip.AddrPort]uint64{}
		for _, r := range records {
			if r.Direction == Outbound {
				assert.Equal(t, ending{KindClosed, established, 0}, endingOf(&r))
				assert.Equal(t, uint64(1), r.Total.Opened)
				sent[AddrPort(&r.Source)] = r.Total.Sent
			}
		}
		require.Len(t, sent, 2)
		assert.Equal(t, uint64(100), sent[AddrPort(&inbound.Source)])
		delete(sent, AddrPort(&inbound.Source))
		for _, n := range sent {
			assert.Zero(t, n, "what the server never took was not sent")
		}
	}
}

// A listener takes the connections with it that nobody accepted.
func TestEndsOfConnectionsThatNobodyAccepted(t *testing.T) {
	const connections = 3
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, address := range servers {
		listener := newSocket(t, httpbin, address, unix.IPPROTO_TCP)
		listener.listen(address, 16)
		var clients []*socket
		for range connections {
			client := newSocket(t, sleep, address, unix.IPPROTO_TCP)
			client.connect(address)
			client.send(100)
			client.acknowledged()
			clients = append(clients, client)
		}
		listener.close()
		for _, client := range clients {
			require.ErrorIs(t, client.drain(), unix.ECONNRESET)
			client.close()
		}
		records := readUntil(t, p, to(address), atLeast(2*connections))
		require.Len(t, records, 2*connections)
		for _, r := range records {
			want := Counters{Opened: 1, Sent: 100}
			how := ending{KindClosed, established, unix.ECONNRESET}
			if r.Direction == Inbound {
				want, how = Counters{Opened: 1, Received: 100}, ending{KindClosed, established, 0}
			}
			assert.Equal(t, want, r.Total)
			assert.Equal(t, how, endingOf(&r))
			assert.True(t, ours(&r))
		}
	}
}

func TestEndsOfAConnectionWhosePeerVanished(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, address := range servers {
		listener := newSocket(t, httpbin, address, unix.IPPROTO_TCP)
		listener.listen(address, 16)
		client := newSocket(t, sleep, address, unix.IPPROTO_TCP)
		client.connect(address)
		server := listener.accept()
		client.send(100)
		server.receive(100)
		client.acknowledged()
		pass := []func(){drop(t, sleep, "meta l4proto tcp"), drop(t, httpbin, "meta l4proto tcp")}
		client.set(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300)
		client.send(1000)
		require.ErrorIs(t, client.drain(), unix.ETIMEDOUT)
		client.close()
		outbound := end(t, readUntil(t, p, to(address), atLeast(1)), uint32(Outbound), uint32(KindClosed))
		assert.Equal(t, ending{KindClosed, established, unix.ETIMEDOUT}, endingOf(&outbound))
		assert.Equal(t, uint64(100), outbound.Total.Sent)
		assert.Positive(t, outbound.Total.Retransmits)

		// Its peer knows nothing of that until it sends.
		for _, pass := range pass {
			pass()
		}
		server.send(1)
		require.ErrorIs(t, server.drain(), unix.ECONNRESET)
		server.close()
		inbound := end(t, readUntil(t, p, to(address), atLeast(1)), uint32(Inbound), uint32(KindClosed))
		assert.Equal(t, ending{KindClosed, established, unix.ECONNRESET}, endingOf(&inbound))
		assert.Equal(t, [2]uint64{0, 100}, [2]uint64{inbound.Total.Sent, inbound.Total.Received})
	}
}

// FIN, RST and an abort leave the two ends with what the reason of the close is made of.
func TestEndsTellHowTheConnectionWasClosed(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, row := range []struct {
		name              string
		close             func(t *testing.T, client, server *socket)
		outbound, inbound ending
	}{
		{
			"FIN, the client first", func(t *testing.T, client, server *socket) {
				client.shutdown()
				require.NoError(t, server.drain())
				server.close()
				require.NoError(t, client.drain())
			},
			ending{KindClosed, FinWait2, 0}, ending{KindClosed, LastACK, 0},
		},
		{
			"FIN, the server first", func(t *testing.T, client, server *socket) {
				server.shutdown()
				require.NoError(t, client.drain())
				client.close()
				require.NoError(t, server.drain())
			},
			ending{KindClosed, LastACK, 0}, ending{KindClosed, FinWait2, 0},
		},
		{
			"the client aborts", func(t *testing.T, client, server *socket) {
				client.reset()
				require.ErrorIs(t, server.drain(), unix.ECONNRESET)
			},
			ending{KindClosed, established, 0}, ending{KindClosed, established, unix.ECONNRESET},
		},
		{
			"the server aborts after the client's FIN", func(t *testing.T, client, server *socket) {
				client.shutdown()
				require.NoError(t, server.drain())
				client.inState(FinWait2)
				server.reset()
				require.ErrorIs(t, client.drain(), unix.ECONNRESET)
			},
			ending{KindClosed, FinWait2, unix.ECONNRESET}, ending{KindClosed, closeWait, 0},
		},
		{
			"the client aborts after its own FIN", func(t *testing.T, client, server *socket) {
				client.shutdown()
				require.NoError(t, server.drain())
				client.inState(FinWait2)
				client.reset()
				server.poll(unix.POLLERR)
			},
			ending{KindClosed, FinWait2, unix.ECONNABORTED}, ending{KindClosed, closeWait, unix.EPIPE},
		},
		{
			"the client leaves data unread after its own FIN", func(t *testing.T, client, server *socket) {
				client.shutdown()
				require.NoError(t, server.drain())
				server.send(1)
				server.acknowledged()
				client.close()
				server.poll(unix.POLLERR)
			},
			ending{KindClosed, FinWait2, unix.ECONNABORTED}, ending{KindClosed, closeWait, unix.EPIPE},
		},
		{
			"the client disconnects after its own FIN", func(t *testing.T, client, server *socket) {
				client.shutdown()
				require.NoError(t, server.drain())
				client.inState(FinWait2)
				disconnect(t, client)
				server.poll(unix.POLLERR)
			},
			ending{KindClosed, FinWait2, unix.ECONNABORTED}, ending{KindClosed, closeWait, unix.EPIPE},
		},
		{
			"the client does not wait after its own FIN", func(t *testing.T, client, server *socket) {
				client.set(unix.IPPROTO_TCP, unix.TCP_LINGER2, -1)
				client.shutdown()
				require.NoError(t, server.drain())
				client.inState(FinWait2)
				client.close()
				server.poll(unix.POLLERR)
			},
			ending{KindClosed, FinWait2, unix.ECONNABORTED}, ending{KindClosed, closeWait, unix.EPIPE},
		},
		{
			"the client closes before the server", func(t *testing.T, client, server *socket) {
				client.shutdown()
				require.NoError(t, server.drain())
				client.inState(FinWait2)
				client.close()
				server.close()
			},
			ending{KindClosed, FinWait2, 0}, ending{KindClosed, LastACK, 0},
		},
		{
			"the server's FIN comes behind unread data", func(t *testing.T, client, server *socket) {
				client.shutdown()
				require.NoError(t, server.drain())
				server.send(1)
				server.close()
				client.poll(unix.POLLRDHUP)
				client.reset()
			},
			ending{KindClosed, FinWait2, 0}, ending{KindClosed, LastACK, 0},
		},
		{
			"the kernel aborts for the administrator", func(t *testing.T, client, server *socket) {
				out := sleep.Run("ss", "--kill", "--tcp", "--no-header", "dport", "=", ":80")
				require.NotEmpty(t, out)
				require.ErrorIs(t, client.drain(), unix.ECONNABORTED)
				require.ErrorIs(t, server.drain(), unix.ECONNRESET)
			},
			ending{KindClosed, established, unix.ECONNABORTED}, ending{KindClosed, established, unix.ECONNRESET},
		},
	} {
		for _, address := range servers {
			t.Run(fmt.Sprint(row.name, " ", address.Addr()), func(t *testing.T) {
				listener := newSocket(t, httpbin, address, unix.IPPROTO_TCP)
				listener.listen(address, 16)
				client := newSocket(t, sleep, address, unix.IPPROTO_TCP)
				client.connect(address)
				server := listener.accept()
				row.close(t, client, server)
				client.close()
				server.close()
				records := readUntil(t, p, to(address), atLeast(2))
				require.Len(t, records, 2)
				outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
				inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
				assert.Equal(t, [2]ending{row.outbound, row.inbound}, [2]ending{endingOf(&outbound), endingOf(&inbound)})
				sent := Counters{Opened: 1, Sent: server.wrote}
				received := Counters{Opened: 1, Received: server.wrote}
				assert.Equal(t, [2]Counters{received, sent}, [2]Counters{outbound.Total, inbound.Total})
			})
		}
	}
}

// A connect that found no free port sent no SYN; a deferred one waits for the data to
// send with it, and is given up like any other.
func TestEndsOfAConnectThatSentNoSYN(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	address := servers[0]
	newSocket(t, httpbin, address, unix.IPPROTO_TCP).listen(address, 16)

	sleep.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40000")
	first := newSocket(t, sleep, address, unix.IPPROTO_TCP)
	first.connect(address)
	second := newSocket(t, sleep, address, unix.IPPROTO_TCP)
	require.ErrorIs(t, unix.Connect(second.fd, sockaddr(address)), unix.EADDRNOTAVAIL)
	r := end(t, readUntil(t, p, to(address), atLeast(1)), uint32(Outbound), uint32(KindFailed))
	assert.Equal(t, ending{KindFailed, synSent, 0}, endingOf(&r))
	assert.Equal(t, uint8(1), r.Unsent)
	first.reset()

	sleep.Run("sysctl", "-qw", "net.ipv4.tcp_fastopen=5") // the 4: without a cookie
	deferred := newSocket(t, sleep, address, unix.IPPROTO_TCP)
	deferred.set(unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	deferred.connect(address)
	deferred.close()
	records := readUntil(t, p, to(address), func(records []Record) bool {
		return len(records) > 0 && records[len(records)-1].Kind == KindFailed
	})
	r = end(t, records, uint32(Outbound), uint32(KindFailed))
	assert.Equal(t, ending{KindFailed, synSent, 0}, endingOf(&r))
	assert.Zero(t, r.Unsent)
}
