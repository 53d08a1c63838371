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

// These are the connections whose ends have not the same sequence numbers, so that they are no pair: docs/traces.md.

// over ends a connection, the client first.
func over(t *testing.T, client, server *socket) {
	t.Helper()
	client.shutdown()
	require.NoError(t, server.drain())
	server.close()
	require.NoError(t, client.drain())
	client.close()
}

func TestAProxyHasTwoConnections(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	backAddress := netip.MustParseAddrPort("10.244.0.10:80")
	front := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	front.listen(httpbinAddress, 1)
	back := newSocket(t, sleep, backAddress, unix.IPPROTO_TCP)
	back.listen(backAddress, 1)

	client := newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	client.connect(httpbinAddress)
	downstream := front.accept()
	upstream := newSocket(t, httpbin, backAddress, unix.IPPROTO_TCP)
	upstream.connect(backAddress)
	server := back.accept()
	talk(client, downstream, 100, 10)
	talk(upstream, server, 100, 10)
	over(t, client, downstream)
	over(t, upstream, server)

	ends := map[isns][]netip.AddrPort{}
	for _, r := range readUntil(t, p, toPort(80), atLeast(4)) {
		ends[isnsOf(&r)] = append(ends[isnsOf(&r)], AddrPort(&r.Destination))
	}
	require.Len(t, ends, 2)
	for _, two := range ends {
		require.Len(t, two, 2)
		assert.Equal(t, two[0], two[1], "both are of one connection")
	}
}

func TestASYNProxyBreaksThePair(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	rules := httpbin.Command("nft", "table ip proxy { "+
		"chain raw { type filter hook prerouting priority raw; tcp dport 80 tcp flags syn notrack; }; "+
		"chain in { type filter hook input priority filter; "+
		"tcp dport 80 ct state { invalid, untracked } synproxy mss 1460 wscale 7 timestamp sack-perm; ct state invalid drop; }; }")
	if out, err := rules.CombinedOutput(); err != nil {
		t.Skipf("this kernel has no synproxy: %s", out)
	}
	httpbin.Run("sh", "-c", "echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose")
	listener := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	listener.listen(httpbinAddress, 1)
	client := newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	client.connect(httpbinAddress)
	server := listener.accept()
	talk(client, server, 100, 10)
	over(t, client, server)

	records := readUntil(t, p, toPort(80), atLeast(2))
	outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
	inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
	assert.Equal(t, outbound.ClientIsn, inbound.ClientIsn)
	assert.NotEqual(t, outbound.ServerIsn, inbound.ServerIsn, "the proxy answered the SYN with a number of its own")
	assert.EqualValues(t, 100, inbound.Total.Received)
}

// CRIU moves one end: the other keeps what it knows.
func TestAnEndThatMovedIsNoPairWithTheOther(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, host := range []*testhost.Host{sleep, httpbin} { // options of the handshake, which are not restored here
		host.Run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/tcp_timestamps; echo 0 >/proc/sys/net/ipv4/tcp_window_scaling")
	}
	listener := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	listener.listen(httpbinAddress, 1)
	before := newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	before.connect(httpbinAddress)
	server := listener.accept()
	talk(before, server, 1000, 500)
	before.acknowledged()
	server.acknowledged()

	address := before.local()
	send, receive := freeze(before)
	after := newSocket(t, sleep, httpbinAddress, unix.IPPROTO_TCP)
	restore(after, address, httpbinAddress, send, receive)
	after.set(unix.IPPROTO_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_OFF)
	talk(after, server, 100, 10)
	over(t, after, server)

	var ofBefore, ofAfter, ofServer *Record
	records := readUntil(t, p, toPort(80), atLeast(3))
	for i := range records {
		switch r := &records[i]; {
		case r.Direction == Inbound:
			ofServer = r
		case r.Total.Sent == 1000:
			ofBefore = r
		default:
			ofAfter = r
		}
	}
	require.NotNil(t, ofBefore)
	require.NotNil(t, ofAfter)
	require.NotNil(t, ofServer)
	assert.Equal(t, isnsOf(ofServer), isnsOf(ofBefore))
	assert.NotEqual(t, isnsOf(ofServer), isnsOf(ofAfter))
	assert.EqualValues(t, 100, ofAfter.Total.Sent)
	assert.EqualValues(t, 1100, ofServer.Total.Received)
}

// freeze takes an end away without a segment, and returns the next sequence numbers of its two directions.
func freeze(s *socket) (send, receive int) {
	s.t.Helper()
	const receiveQueue, sendQueue = 1, 2
	s.set(unix.IPPROTO_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_ON)
	var err error
	s.set(unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, sendQueue)
	send, err = unix.GetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
	require.NoError(s.t, err)
	s.set(unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, receiveQueue)
	receive, err = unix.GetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
	require.NoError(s.t, err)
	s.close()
	return send, receive
}
