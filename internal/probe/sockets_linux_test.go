// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// socket is one end as the kernel knows it, blocking, with nothing of Go's poller
// around it. It counts what the application wrote and read.
type socket struct {
	t           testing.TB
	fd          int
	wrote, read uint64
}

func newSocket(t testing.TB, host *testhost.Host, address netip.AddrPort, protocol int) *socket {
	t.Helper()
	family := unix.AF_INET6
	if address.Addr().Is4() {
		family = unix.AF_INET
	}
	var fd int
	var err error
	host.Do(func() { fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol) })
	require.NoError(t, err)
	return own(t, fd)
}

// own takes a descriptor whose reads and writes fail the test rather than to last for ever.
func own(t testing.TB, fd int) *socket {
	t.Helper()
	s := &socket{t: t, fd: fd}
	t.Cleanup(s.close)
	limit := unix.NsecToTimeval(within.Nanoseconds())
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
	return s
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addrPort(t testing.TB, sa unix.Sockaddr) netip.AddrPort {
	t.Helper()
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	require.Fail(t, "not an internet address", "%T", sa)
	return netip.AddrPort{}
}

func (s *socket) set(level, name, value int) {
	s.t.Helper()
	require.NoError(s.t, unix.SetsockoptInt(s.fd, level, name, value))
}

func (s *socket) bind(address netip.AddrPort) {
	s.t.Helper()
	s.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	require.NoError(s.t, unix.Bind(s.fd, sockaddr(address)))
}

func (s *socket) listen(address netip.AddrPort, backlog int) {
	s.t.Helper()
	s.bind(address)
	require.NoError(s.t, unix.Listen(s.fd, backlog))
}

func (s *socket) accept() *socket {
	s.t.Helper()
	fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
	require.NoError(s.t, err)
	return own(s.t, fd)
}

func (s *socket) connect(address netip.AddrPort) {
	s.t.Helper()
	require.NoError(s.t, unix.Connect(s.fd, sockaddr(address)))
}

// begin connects without waiting for the answer, as event loops do.
func (s *socket) begin(address netip.AddrPort) {
	s.t.Helper()
	require.NoError(s.t, unix.SetNonblock(s.fd, true))
	require.ErrorIs(s.t, unix.Connect(s.fd, sockaddr(address)), unix.EINPROGRESS)
}

// outcome waits until the connect that begin began is over, and gives SO_ERROR.
func (s *socket) outcome() error {
	s.t.Helper()
	s.poll(unix.POLLOUT)
	errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	require.NoError(s.t, err)
	require.NoError(s.t, unix.SetNonblock(s.fd, false))
	if errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

func (s *socket) poll(events int16) {
	s.t.Helper()
	for deadline := time.Now().Add(within); ; {
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
		n, err := unix.Poll(fds, int(time.Until(deadline).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(s.t, err)
		require.NotZero(s.t, n, "nothing happened on the socket")
		return
	}
}

func (s *socket) local() netip.AddrPort {
	s.t.Helper()
	sa, err := unix.Getsockname(s.fd)
	require.NoError(s.t, err)
	return addrPort(s.t, sa)
}

// send writes n bytes; with fewer than that the test fails.
func (s *socket) send(n int) {
	s.t.Helper()
	buffer := make([]byte, min(n, 1<<16))
	for n > 0 {
		wrote, err := unix.Write(s.fd, buffer[:min(n, len(buffer))])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !assert.NoError(s.t, err) {
			return
		}
		n -= wrote
		s.wrote += uint64(wrote)
	}
}

// receive reads n bytes.
func (s *socket) receive(n int) {
	s.t.Helper()
	buffer := make([]byte, min(n, 1<<16))
	for n > 0 {
		read, err := unix.Read(s.fd, buffer[:min(n, len(buffer))])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !assert.NoError(s.t, err) || !assert.NotZero(s.t, read, "the stream ended, %d bytes before its time", n) {
			return
		}
		n -= read
		s.read += uint64(read)
	}
}

// drain reads until the stream ends, and gives what ended it: nil is a FIN.
func (s *socket) drain() error {
	s.t.Helper()
	buffer := make([]byte, 1<<16)
	for {
		read, err := unix.Read(s.fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case read == 0:
			return nil
		default:
			s.read += uint64(read)
		}
	}
}

func (s *socket) shutdown() {
	s.t.Helper()
	require.NoError(s.t, unix.Shutdown(s.fd, unix.SHUT_WR))
}

func (s *socket) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}

// reset closes with RST, whatever is in flight.
func (s *socket) reset() {
	s.t.Helper()
	require.NoError(s.t, unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	s.close()
}

func (s *socket) info() *unix.TCPInfo {
	s.t.Helper()
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	require.NoError(s.t, err)
	return info
}

// eventually waits for what the kernel reports of the socket.
func (s *socket) eventually(what string, is func(*unix.TCPInfo) bool) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return is(s.info()) }, within, time.Millisecond, what)
}

// acknowledged waits until the peer has acknowledged all that was written.
func (s *socket) acknowledged() {
	s.t.Helper()
	s.eventually("all is acknowledged", func(i *unix.TCPInfo) bool { return i.Unacked == 0 && i.Notsent_bytes == 0 })
}

// inState waits until the socket's TCP state is the one given.
func (s *socket) inState(state State) {
	s.t.Helper()
	s.eventually("the state comes", func(i *unix.TCPInfo) bool { return i.State == uint8(state) })
}
