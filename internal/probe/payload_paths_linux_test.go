// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// Payload takes many ways into a socket and out of it: each counts the same.
func TestPayloadCountsWhicheverWayItTakes(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, row := range []struct {
		name string
		talk func(*conversation)
	}{
		{"sendfile", sendfile},
		{"splice", splice},
		{"MSG_ZEROCOPY", zerocopy},
		{"kTLS", kernelTLS},
		{"urgent data, read out of band", urgent(false, true)},
		{"urgent data, read inline", urgent(true, true)},
		{"urgent data, never read", urgent(false, false)},
		{"MPTCP", multipath},
		{"more than 4 GiB", moreThan32Bits},
		{"keep-alive only", keepAlive},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.talk(&conversation{t: t, probe: p, sleep: sleep, httpbin: httpbin})
		})
	}
}

// zeros gives a file of zeros that has no memory behind it.
func zeros(t *testing.T, size int64) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("zeros", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	file := os.NewFile(uintptr(fd), "zeros")
	t.Cleanup(func() { assert.NoError(t, file.Close()) })
	require.NoError(t, file.Truncate(size))
	return file
}

// sendFile sends n bytes out of a file, over and over.
func (s *socket) sendFile(file *os.File, size, n int64) {
	s.t.Helper()
	for n > 0 {
		offset := int64(0)
		sent, err := unix.Sendfile(s.fd, int(file.Fd()), &offset, int(min(size, n)))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !assert.NoError(s.t, err) || !assert.Positive(s.t, sent) {
			return
		}
		n -= int64(sent)
		s.wrote += uint64(sent)
	}
}

func sendfile(c *conversation) {
	const size, n = 1 << 20, 3_000_000
	file := zeros(c.t, size)
	c.connect()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.server.sendFile(file, size, n)
	}()
	c.client.receive(n)
	<-done
	c.finish(c.client, c.server)
	c.verify()
}

// splice passes what the server gets back to the client, through a pipe.
func splice(c *conversation) {
	const n = 500_000
	c.connect()
	pipe := make([]int, 2)
	require.NoError(c.t, unix.Pipe2(pipe, unix.O_CLOEXEC))
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(pipe[1]) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.client.send(n)
	}()
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		for c.server.wrote < n {
			in, err := unix.Splice(c.server.fd, nil, pipe[1], nil, 1<<16, unix.SPLICE_F_MOVE)
			if !assert.NoError(c.t, err) || !assert.Positive(c.t, in) {
				return
			}
			c.server.read += uint64(in)
			for in > 0 {
				out, err := unix.Splice(pipe[0], nil, c.server.fd, nil, int(in), unix.SPLICE_F_MOVE)
				if !assert.NoError(c.t, err) {
					return
				}
				in -= out
				c.server.wrote += uint64(out)
			}
		}
	}()
	c.client.receive(n)
	<-done
	<-echoed
	c.finish(c.server, c.client)
	c.verify()
}

func zerocopy(c *conversation) {
	const size, times = 100_000, 10
	c.connect()
	c.client.set(unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1)
	// Not Go's: the kernel holds it until the peer has acknowledged.
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	require.NoError(c.t, err)
	defer func() { assert.NoError(c.t, unix.Munmap(memory)) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c.client.wrote < size*times {
			n, err := unix.SendmsgN(c.client.fd, memory, nil, nil, unix.MSG_ZEROCOPY)
			if !assert.NoError(c.t, err) {
				return
			}
			c.client.wrote += uint64(n)
		}
	}()
	for c.server.read < size*times {
		c.server.receive(1)
		c.sweep()
		c.server.receive(int(min(size, size*times-c.server.read)))
	}
	<-done
	c.client.acknowledged()
	c.finish(c.client, c.server)
	c.verify()
}

// What TLS adds is payload to TCP: with kTLS a record of the application's bytes has a
// header of 5 bytes, a nonce of 8 and a tag of 16, as it has without.
func kernelTLS(c *conversation) {
	const solTLS, tx, rx, overhead = 282, 1, 2, 5 + 8 + 16
	c.connect()
	for _, s := range []*socket{c.client, c.server} {
		err := unix.SetsockoptString(s.fd, unix.IPPROTO_TCP, unix.TCP_ULP, "tls")
		if errors.Is(err, unix.ENOENT) {
			c.t.Skip("SKIPPED, NOT TESTED: this kernel has no kTLS (CONFIG_TLS)")
		}
		require.NoError(c.t, err)
		// struct tls12_crypto_info_aes_gcm_128: TLS 1.2, AES-GCM-128; the key is all zeros.
		info := make([]byte, 40)
		binary.NativeEndian.PutUint16(info, 0x0303)
		binary.NativeEndian.PutUint16(info[2:], 51)
		require.NoError(c.t, unix.SetsockoptString(s.fd, solTLS, tx, string(info)))
		require.NoError(c.t, unix.SetsockoptString(s.fd, solTLS, rx, string(info)))
	}
	c.client.send(1000)
	c.server.receive(1000)
	c.server.send(300)
	c.client.receive(300)
	c.outbound = &payload{sent: 1000 + overhead, received: 300 + overhead}
	c.inbound = &payload{sent: 300 + overhead, received: 1000 + overhead}
	c.finish(c.client, c.server)
	c.verify()
}

// The byte that is out of band is a byte of the stream: it counts also when nobody
// asks for it.
func urgent(inline, read bool) func(*conversation) {
	return func(c *conversation) {
		c.connect()
		if inline {
			c.server.set(unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
		}
		c.client.send(10)
		n, err := unix.SendmsgN(c.client.fd, []byte{1}, nil, nil, unix.MSG_OOB)
		require.NoError(c.t, err)
		c.client.wrote += uint64(n)
		c.client.send(10)
		c.client.acknowledged()
		if read && !inline {
			n, _, err := unix.Recvfrom(c.server.fd, make([]byte, 1), unix.MSG_OOB)
			require.NoError(c.t, err)
			c.server.read += uint64(n)
		}
		c.client.shutdown()
		require.NoError(c.t, c.server.drain())
		c.server.close()
		require.NoError(c.t, c.client.drain())
		c.client.close()
		if !read {
			require.Equal(c.t, uint64(20), c.server.read)
			c.inbound = &payload{received: 21}
		}
		c.verify()
	}
}

// A record is of one subflow, which is a TCP connection with all the payload that went over it.
func multipath(c *conversation) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOPROTOOPT) {
		c.t.Skip("SKIPPED, NOT TESTED: this kernel has no MPTCP (CONFIG_MPTCP, net.mptcp.enabled)")
	}
	require.NoError(c.t, err)
	require.NoError(c.t, unix.Close(fd))
	c.listen(unix.IPPROTO_MPTCP)
	c.client.connect(httpbinAddress)
	c.accept()
	c.transfer(c.client, c.server, 100_000)
	c.sweep()
	c.transfer(c.server, c.client, 300_000)
	// On a machine that is slow to answer MPTCP sends again what TCP has delivered.
	c.client.wrote += sentAgain(c.t, c.client.fd)
	c.server.read = c.client.wrote
	again := sentAgain(c.t, c.server.fd)
	c.server.wrote += again
	c.client.read += again
	c.finish(c.client, c.server)
	c.verify()
}

// sentAgain is what MPTCP itself retransmitted, which is payload to TCP; 0 before Linux 6.5, which does not count it. It fails
// for a peer that fell back to TCP, which would show nothing of MPTCP.
func sentAgain(t testing.TB, fd int) uint64 {
	t.Helper()
	const solMPTCP, mptcpInfo, bytesRetrans = 284, 1, 48 // linux/mptcp.h; the last is an offset in struct mptcp_info
	var info [256]byte
	length := uint32(len(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), solMPTCP, mptcpInfo,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&length)), 0)
	require.Zero(t, errno, "the connection is not MPTCP's")
	if length < bytesRetrans+8 {
		return 0
	}
	return binary.NativeEndian.Uint64(info[bytesRetrans:])
}

// Each subflow is a connection: what its one end sent, its other received. Together
// they hold what the applications sent, and what MPTCP sent again over the other one.
func TestPayloadOverTwoSubflowsCountsOnEach(t *testing.T) {
	p := open(t, Options{})
	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", "10.244.0.10/24", "10.244.0.20/24")
	httpbin := network.Host("httpbin", "10.244.0.11/24")
	if _, err := os.Stat("/proc/sys/net/mptcp"); err != nil {
		t.Skip("SKIPPED, NOT TESTED: this kernel has no MPTCP (CONFIG_MPTCP)")
	}
	sleep.Run("ip", "mptcp", "limits", "set", "subflow", "1")
	httpbin.Run("ip", "mptcp", "limits", "set", "subflow", "1")
	sleep.Run("ip", "mptcp", "endpoint", "add", "10.244.0.20", "dev", "eth0", "subflow")
	c := &conversation{t: t, probe: p, sleep: sleep, httpbin: httpbin}
	c.listen(unix.IPPROTO_MPTCP)
	c.client.connect(httpbinAddress)
	c.accept()
	c.transfer(c.client, c.server, 100_000)
	// Joined means that the server has seen the second one too.
	require.Eventually(t, func() bool {
		return strings.Count(httpbin.Run("ss", "--no-header", "--tcp", "state", "established", "src", "10.244.0.11"), "10.244.0.20") == 1
	}, within, 10*time.Millisecond)
	c.transfer(c.client, c.server, 2_000_000)
	c.transfer(c.server, c.client, 1_000_000)
	c.finish(c.client, c.server)

	// A thread of the kernel opens the second one.
	records := readUntil(t, p, func(r *Record) bool {
		second := AddrPort(&r.Source).Addr() == netip.MustParseAddr("10.244.0.20")
		return to(httpbinAddress)(r) || second && AddrPort(&r.Destination) == httpbinAddress
	}, atLeast(4))
	require.Len(t, records, 4)
	subflows := map[netip.AddrPort][2]payload{}
	sums := map[Direction]payload{}
	for _, r := range records {
		require.Equal(t, KindClosed, r.Kind)
		ends, one := subflows[AddrPort(&r.Source)], payload{r.Total.Sent, r.Total.Received}
		if r.Direction == Inbound {
			one = payload{r.Total.Received, r.Total.Sent}
		}
		ends[r.Direction-Outbound] = one
		subflows[AddrPort(&r.Source)] = ends
		sums[r.Direction] = payload{sums[r.Direction].sent + one.sent, sums[r.Direction].received + one.received}
	}
	for source, ends := range subflows {
		assert.Equal(t, ends[0], ends[1], source)
	}
	assert.Len(t, subflows, 2)
	for _, r := range records {
		if r.Direction == Inbound || version(t) >= 602 || AddrPort(&r.Source).Addr() == netip.MustParseAddr("10.244.0.10") {
			assert.True(t, ours(&r), "the process of %s is %s", AddrPort(&r.Source), command(&r))
		}
	}
	assert.GreaterOrEqual(t, sums[Outbound].sent, c.server.read)
	assert.GreaterOrEqual(t, sums[Outbound].received, c.client.read)
}

func moreThan32Bits(c *conversation) {
	if testing.Short() {
		c.t.Skip("SKIPPED, NOT TESTED: 4 GiB are too many for an emulated machine")
	}
	const size, n = 64 << 20, 1<<32 + 1<<28 + 1
	file := zeros(c.t, size)
	c.connect()
	// Every kernel has it, and it does not take the queue of a veth pair for a bottleneck.
	require.NoError(c.t, unix.SetsockoptString(c.client.fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno"))
	sent, received := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sent)
		c.client.sendFile(file, size, n)
		c.client.shutdown()
	}()
	go func() {
		defer close(received)
		// With MSG_TRUNC the kernel counts and copies nothing.
		for buffer := make([]byte, 4<<20); ; {
			n, _, err := unix.Recvfrom(c.server.fd, buffer, unix.MSG_TRUNC)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if !assert.NoError(c.t, err) || n == 0 {
				return
			}
			c.server.read += uint64(n)
		}
	}()
	began := time.Now()
	for running := true; running; {
		c.sweep()
		select {
		case <-received:
			running = false
		case <-time.After(100 * time.Millisecond): // an interval of the receiver
		}
	}
	<-sent
	c.t.Logf("%d bytes in %s, in %d reports", c.client.wrote, time.Since(began), len(c.records))
	c.server.close()
	require.NoError(c.t, c.client.drain())
	c.client.close()
	require.Equal(c.t, uint64(n), c.server.read)
	c.verify()
}

// A keep-alive probe is a segment with a sequence number that was used, and no byte.
func keepAlive(c *conversation) {
	c.connect()
	c.client.set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	c.client.set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1)
	c.client.set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1)
	before := c.client.info().Segs_out
	c.client.eventually("two probes", func(i *unix.TCPInfo) bool { return i.Segs_out >= before+2 })
	c.sweep()
	c.finish(c.client, c.server)
	c.verify()
}

// One socket that connects to itself: both SYNs cross, and its one end opened it.
func TestPayloadOfASocketThatConnectsToItselfCountsOnceEachWay(t *testing.T) {
	p := open(t, Options{IncludeLoopback: true})
	_, httpbin := hosts(t)
	self := netip.MustParseAddrPort("127.0.0.1:8080")
	s := newSocket(t, httpbin, self, unix.IPPROTO_TCP)
	s.bind(self)
	s.connect(self)
	s.send(1000)
	s.receive(1000)
	s.shutdown()
	require.NoError(t, s.drain())
	s.close()
	records := readUntil(t, p, toPort(8080), atLeast(1))
	r := end(t, records, uint32(Outbound), uint32(KindClosed))
	assert.Equal(t, Counters{Opened: 1, Sent: 1000, Received: 1000}, r.Total)
	assert.Equal(t, r.Total, r.Delta)
}
