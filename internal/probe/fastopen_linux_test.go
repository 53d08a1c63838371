// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fastOpen connects with data in the SYN, as far as the client has the server's cookie.
func (c *conversation) fastOpen(n int) {
	c.t.Helper()
	c.listen(unix.IPPROTO_TCP)
	c.listener.set(unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16)
	c.fastConnect(n)
	c.accept()
}

func (c *conversation) fastConnect(n int) {
	c.t.Helper()
	sent, err := unix.SendmsgN(c.client.fd, make([]byte, n), nil, sockaddr(httpbinAddress), unix.MSG_FASTOPEN)
	require.NoError(c.t, err)
	c.client.wrote += uint64(sent)
}

// inSYN returns whether the peer took the data of the SYN.
func (s *socket) inSYN() bool {
	s.t.Helper()
	const tcpiOptSYNData = 32
	return s.info().Options&tcpiOptSYNData != 0
}

func TestPayloadInTheSYNCountsOnce(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	sleep.Run("sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
	httpbin.Run("sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
	// The first connection is given the cookie that the others use.
	for _, row := range []struct {
		name string
		talk func(*conversation)
	}{
		{"without a cookie", func(c *conversation) {
			c.fastOpen(100)
			assert.False(c.t, c.client.inSYN())
			c.server.receive(100)
			c.transfer(c.server, c.client, 10)
			c.finish(c.client, c.server)
			c.verify()
		}},
		{"accepted", func(c *conversation) {
			c.fastOpen(100)
			assert.True(c.t, c.client.inSYN())
			c.server.receive(100)
			c.sweep()
			c.transfer(c.server, c.client, 10)
			c.finish(c.client, c.server)
			c.verify()
		}},
		{"accepted, and closed by the server before the handshake is over", closedInHandshake},
		{"accepted, and reset by the server before the handshake is over", resetInHandshake},
		{"accepted, and reset by the client before the handshake is over", func(c *conversation) {
			drop(c.t, c.httpbin, "tcp dport 80 tcp flags & (syn | rst) == 0")
			c.fastOpen(100)
			c.server.receive(100)
			c.client.reset()
			require.ErrorIs(c.t, c.server.drain(), unix.ECONNRESET)
			c.server.close()
			c.verify()
		}},
		{"rejected", func(c *conversation) {
			c.httpbin.Run("sysctl", "-qw", "net.ipv4.tcp_fastopen_key=00000001-00000002-00000003-00000004")
			c.fastOpen(100)
			assert.False(c.t, c.client.inSYN())
			c.server.receive(100)
			c.transfer(c.server, c.client, 10)
			c.finish(c.client, c.server)
			outbound, _ := c.verify()
			assert.Equal(c.t, uint64(1), outbound.Total.Retransmits, "the data of the SYN was sent again")
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.talk(&conversation{t: t, probe: p, sleep: sleep, httpbin: httpbin})
		})
	}
}

// A server that answers the SYN's request and closes is done before the client's
// first acknowledgement: its socket never is ESTABLISHED.
func closedInHandshake(c *conversation) {
	pass := drop(c.t, c.httpbin, "tcp dport 80 tcp flags & syn == 0")
	c.fastOpen(100)
	c.server.receive(100)
	c.server.send(300)
	c.server.close()
	c.client.receive(300)
	c.sweep()
	pass()
	require.NoError(c.t, c.client.drain())
	c.client.close()
	c.verify()
}

func resetInHandshake(c *conversation) {
	drop(c.t, c.httpbin, "tcp dport 80 tcp flags & syn == 0")
	c.fastOpen(100)
	c.server.receive(100)
	c.server.reset()
	require.ErrorIs(c.t, c.client.drain(), unix.ECONNRESET)
	c.client.close()
	c.verify()
}

func TestAFastOpenThatNobodyAnswersIsAFailedConnectWithoutPayload(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	sleep.Run("sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
	httpbin.Run("sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
	c := &conversation{t: t, probe: p, sleep: sleep, httpbin: httpbin}
	c.fastOpen(100)
	c.server.receive(100)
	c.finish(c.client, c.server)
	c.verify()
	c.listener.close()

	c = &conversation{t: t, probe: p, sleep: sleep, httpbin: httpbin}
	c.client = newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	_, err := unix.SendmsgN(c.client.fd, make([]byte, 100), nil, sockaddr(httpbinAddress), unix.MSG_FASTOPEN)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	c.client.close()
	records := readUntil(t, p, toPort(80), atLeast(1))
	r := end(t, records, uint32(Outbound), uint32(KindFailed))
	assert.Equal(t, uint16(unix.ECONNREFUSED), r.Error)
	assert.Zero(t, r.Total)
}
