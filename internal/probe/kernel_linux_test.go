// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const within = 10 * time.Second

func open(t *testing.T, options Options) *Probe {
	t.Helper()
	testhost.RequireRoot(t)
	options.NameListeners = true // for ours
	p, err := Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// readUntil reads until done says so, and fails the test if that takes too long.
// Records of connections that are not the test's are left out by keep.
func readUntil(t *testing.T, p *Probe, keep func(*Record) bool, done func([]Record) bool) []Record {
	t.Helper()
	var records []Record
	take := func(r *Record) {
		if keep(r) {
			records = append(records, *r)
		}
	}
	for deadline := time.Now().Add(within); !done(records); {
		if time.Now().After(deadline) {
			require.Fail(t, "the expected records did not come", "%+v", records)
		}
		require.NoError(t, p.Read(time.Now().Add(10*time.Millisecond), take))
	}
	return records
}

func port(r *Record) uint16 { return AddrPort(&r.Destination).Port() }

// ours distinguishes the test's own connections from those of whatever else runs here.
func ours(r *Record) bool { return r.Process.Pid == uint32(os.Getpid()) }

func toPort(n uint16) func(*Record) bool {
	return func(r *Record) bool { return ours(r) && port(r) == n }
}

func atLeast(n int) func([]Record) bool {
	return func(records []Record) bool { return len(records) >= n }
}

// end finds the only record with the direction and the kind.
func end(t *testing.T, records []Record, direction, kind uint32) Record {
	t.Helper()
	var found []Record
	for _, r := range records {
		if uint32(r.Direction) == direction && uint32(r.Kind) == kind {
			found = append(found, r)
		}
	}
	require.Len(t, found, 1, "%+v", records)
	return found[0]
}

// hosts are the contract's two: sleep opens connections to httpbin.
func hosts(t *testing.T) (sleep, httpbin *testhost.Host) {
	t.Helper()
	network := testhost.NewNetwork(t)
	sleep = network.Host("sleep", "10.244.0.10/24", "fd00::10/64")
	httpbin = network.Host("httpbin", "10.244.0.11/24", "fd00::11/64")
	meet(t, sleep, httpbin, "10.244.0.11:9")
	meet(t, sleep, httpbin, "[fd00::11]:9")
	return sleep, httpbin
}

// meet waits until a datagram arrives: what a host that has just come up asks first, who
// has an address, can get lost, and would keep a SYN waiting for a second.
func meet(t *testing.T, from, to *testhost.Host, address string) {
	t.Helper()
	var conn net.Conn
	var listener net.PacketConn
	var err error
	to.Do(func() { listener, err = net.ListenPacket("udp", address) })
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	from.Do(func() { conn, err = net.Dial("udp", address) })
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.Eventually(t, func() bool {
		if _, err := conn.Write([]byte{0}); err != nil {
			return false
		}
		if err := listener.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			return false
		}
		_, _, err := listener.ReadFrom(make([]byte, 1))
		return err == nil
	}, within, time.Millisecond)
}

// listen makes a listener in the host that the test closes.
func listen(t *testing.T, host *testhost.Host, address string) *net.TCPListener {
	t.Helper()
	var listener net.Listener
	var err error
	host.Do(func() { listener, err = net.Listen("tcp", address) })
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.(*net.TCPListener)
}

func dial(t *testing.T, host *testhost.Host, address string) *net.TCPConn {
	t.Helper()
	var conn net.Conn
	var err error
	host.Do(func() { conn, err = net.DialTimeout("tcp", address, within) })
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// pair gives both ends of one established connection.
func pair(t *testing.T, from *testhost.Host, listener *net.TCPListener) (client, server *net.TCPConn) {
	t.Helper()
	client = dial(t, from, listener.Addr().String())
	require.NoError(t, listener.SetDeadline(time.Now().Add(within)))
	accepted, err := listener.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	return client, accepted
}

// exchange sends payload both ways, reads it, and closes both ends, the client first.
func exchange(t *testing.T, client, server *net.TCPConn, up, down int) {
	t.Helper()
	sendAndRead(t, client, server, up)
	sendAndRead(t, server, client, down)
	require.NoError(t, client.Close())
	n, err := server.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Zero(t, n)
	require.NoError(t, server.Close())
}

func sendAndRead(t *testing.T, from, to *net.TCPConn, n int) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, n))
		sent <- err
	}()
	require.NoError(t, to.SetReadDeadline(time.Now().Add(within)))
	_, err := io.ReadFull(to, make([]byte, n))
	require.NoError(t, err)
	require.NoError(t, <-sent)
}

func TestEachEndOfAConnectionIsReportedOnceWithItsPayload(t *testing.T) {
	for name, addresses := range map[string]struct{ listen, source, destination string }{
		"IPv4":        {"10.244.0.11:80", "10.244.0.10", "10.244.0.11"},
		"IPv6":        {"[fd00::11]:80", "fd00::10", "fd00::11"},
		"IPv4-mapped": {"[::]:80", "10.244.0.10", "10.244.0.11"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, Options{})
			sleep, httpbin := hosts(t)
			listener := listen(t, httpbin, addresses.listen)
			began := time.Now()
			client := dial(t, sleep, net.JoinHostPort(addresses.destination, "80"))
			server, err := listener.AcceptTCP()
			require.NoError(t, err)
			source := client.LocalAddr().(*net.TCPAddr).AddrPort()
			exchange(t, client, server, 100, 10)
			ended := time.Now()

			records := readUntil(t, p, func(r *Record) bool { return AddrPort(&r.Source) == source }, atLeast(2))
			require.Len(t, records, 2)
			outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
			inbound := end(t, records, uint32(Inbound), uint32(KindClosed))

			for _, r := range records {
				assert.Equal(t, netip.MustParseAddr(addresses.source), AddrPort(&r.Source).Addr())
				assert.Equal(t, netip.AddrPortFrom(netip.MustParseAddr(addresses.destination), 80), AddrPort(&r.Destination))
				assert.Equal(t, uint32(os.Getpid()), r.Process.Pid)
				assert.Equal(t, uint64(1), r.Delta.Opened)
				assert.Equal(t, r.Total, r.Delta, "the only report of an end holds all of it")
				assert.WithinRange(t, p.Clock().Wall(r.Start), began.Add(-time.Millisecond), ended.Add(time.Millisecond))
				assert.WithinRange(t, p.Clock().Wall(r.Now), p.Clock().Wall(r.Start), ended.Add(time.Millisecond))
				assert.NotZero(t, r.SrttUs)
				assert.NotZero(t, r.Id)
			}
			assert.Equal(t, [2]uint64{100, 10}, [2]uint64{outbound.Total.Sent, outbound.Total.Received})
			assert.Equal(t, [2]uint64{10, 100}, [2]uint64{inbound.Total.Sent, inbound.Total.Received})
			assert.NotEqual(t, outbound.Id, inbound.Id)
			assert.Equal(t, netip.AddrPortFrom(netip.MustParseAddr(addresses.destination), 80), AddrPort(&outbound.Original))
			assert.False(t, AddrPort(&inbound.Original).IsValid())
		})
	}
}
