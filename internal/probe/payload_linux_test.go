// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// payload is what one end counts.
type payload struct{ sent, received uint64 }

// conversation is one connection and all that the probe reported of it.
type conversation struct {
	t              *testing.T
	probe          *Probe
	sleep, httpbin *testhost.Host
	listener       *socket
	client, server *socket
	records        []Record
	// What is not the same as what the applications counted has its reason in the row.
	outbound, inbound *payload
	source            netip.AddrPort
}

var httpbinAddress = netip.MustParseAddrPort("10.244.0.11:80")

// listen makes the client's socket and the listener, and connects them not yet.
func (c *conversation) listen(protocol int) {
	c.t.Helper()
	c.listener = newSocket(c.t, c.httpbin, httpbinAddress, protocol)
	c.listener.listen(httpbinAddress, 16)
	c.client = newSocket(c.t, c.sleep, httpbinAddress, protocol)
}

func (c *conversation) accept() {
	c.t.Helper()
	c.server = c.listener.accept()
	c.source = c.client.local()
}

func (c *conversation) connect() {
	c.t.Helper()
	c.listen(unix.IPPROTO_TCP)
	c.client.connect(httpbinAddress)
	c.accept()
}

// transfer sends n bytes while the other end reads them.
func (c *conversation) transfer(from, to *socket, n int) {
	c.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		from.send(n)
	}()
	to.receive(n)
	<-done
}

// sweep lets the walk report what moved so far.
func (c *conversation) sweep() {
	c.t.Helper()
	require.NoError(c.t, c.probe.Sweep(false, c.take))
}

func (c *conversation) take(r *Record) {
	if ours(r) && AddrPort(&r.Source) == c.source && AddrPort(&r.Destination) == httpbinAddress {
		c.records = append(c.records, *r)
	}
}

// finish closes both ends, first the one that is named first, with FIN.
func (c *conversation) finish(first, second *socket) {
	c.t.Helper()
	first.shutdown()
	require.NoError(c.t, second.drain())
	second.close()
	require.NoError(c.t, first.drain())
	first.close()
}

// verify compares what was reported with what the applications counted.
func (c *conversation) verify() (outbound, inbound Record) {
	c.t.Helper()
	for deadline := time.Now().Add(within); ; {
		closed := 0
		for _, r := range c.records {
			if r.Kind != KindOpen {
				closed++
			}
		}
		if closed >= 2 {
			break
		}
		require.True(c.t, time.Now().Before(deadline), "not both ends are reported: %+v", c.records)
		require.NoError(c.t, c.probe.Read(time.Now().Add(time.Millisecond), c.take))
	}
	outbound = end(c.t, c.records, uint32(Outbound), uint32(KindClosed))
	inbound = end(c.t, c.records, uint32(Inbound), uint32(KindClosed))

	sums := map[uint64]Counters{}
	for _, r := range c.records {
		sums[r.Id] = add(sums[r.Id], r.Delta)
	}
	assert.Equal(c.t, map[uint64]Counters{outbound.Id: outbound.Total, inbound.Id: inbound.Total}, sums,
		"the differences add up to the total")
	assert.Equal(c.t, [2]uint64{1, 1}, [2]uint64{outbound.Total.Opened, inbound.Total.Opened})
	want := [2]payload{{c.client.wrote, c.client.read}, {c.server.wrote, c.server.read}}
	for i, other := range []*payload{c.outbound, c.inbound} {
		if other != nil {
			want[i] = *other
		}
	}
	assert.Equal(c.t, want, [2]payload{
		{outbound.Total.Sent, outbound.Total.Received}, {inbound.Total.Sent, inbound.Total.Received},
	}, "outbound and inbound")
	return outbound, inbound
}

// drop has packets dropped that come into the host and that match the rule, until the
// test ends or what it gives is called.
func drop(t *testing.T, host *testhost.Host, rule string) (pass func()) {
	t.Helper()
	table := fmt.Sprintf("loss%d", losses.Add(1))
	host.Run("nft", fmt.Sprintf("add table inet %[1]s; "+
		"add chain inet %[1]s in { type filter hook input priority 0; }; add rule inet %[1]s in %[2]s drop", table, rule))
	var once sync.Once
	pass = func() {
		once.Do(func() { host.Run("nft", "delete table inet "+table) })
	}
	t.Cleanup(pass)
	return pass
}

// losses numbers the tables of drop.
var losses atomic.Uint32

func TestPayloadIsWhatTheApplicationsCounted(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, row := range []struct {
		name string
		talk func(*conversation)
	}{
		{"zero bytes", func(c *conversation) {
			c.connect()
			c.sweep()
			c.finish(c.client, c.server)
			c.verify()
		}},
		{"both ways, the server closes first", func(c *conversation) {
			c.connect()
			c.transfer(c.client, c.server, 100)
			c.sweep()
			c.transfer(c.server, c.client, 300_000)
			c.sweep()
			c.finish(c.server, c.client)
			c.verify()
		}},
		{"half-close by the client, data after its FIN", halfClose(false)},
		{"half-close by the server, data after its FIN", halfClose(true)},
		{"simultaneous close", simultaneousClose},
		{"reset with data in flight", resetInFlight},
		{"reset with a full receive window", resetFullWindow},
		{"closed with unread data", closedUnread},
		{"retransmits", retransmits},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.talk(&conversation{t: t, probe: p, sleep: sleep, httpbin: httpbin})
		})
	}
}

func halfClose(byServer bool) func(*conversation) {
	return func(c *conversation) {
		c.connect()
		first, second := c.client, c.server
		if byServer {
			first, second = second, first
		}
		first.send(1000)
		first.shutdown()
		require.NoError(c.t, second.drain())
		c.sweep() // sees FIN_WAIT2 and CLOSE_WAIT
		c.transfer(second, first, 200_000)
		c.sweep()
		second.send(1)
		second.close()
		require.NoError(c.t, first.drain())
		first.close()
		c.verify()
	}
}

// Both FINs are lost first, so that each end has sent its own before it sees the other's.
func simultaneousClose(c *conversation) {
	c.connect()
	c.transfer(c.client, c.server, 10)
	c.client.acknowledged()
	pass := []func(){
		drop(c.t, c.sleep, "tcp sport 80"),
		drop(c.t, c.httpbin, "tcp dport 80"),
	}
	c.client.send(1000)
	c.client.shutdown()
	c.server.send(2000)
	c.server.shutdown()
	c.sweep()
	for _, pass := range pass {
		pass()
	}
	require.NoError(c.t, c.client.drain())
	require.NoError(c.t, c.server.drain())
	c.client.close()
	c.server.close()
	outbound, inbound := c.verify()
	assert.Contains(c.t, []State{outbound.State, inbound.State}, Closing, "no FIN crossed another")
}

// Only what the peer acknowledged is sent: the rest it never got.
func resetInFlight(c *conversation) {
	c.connect()
	c.transfer(c.client, c.server, 1000)
	c.client.acknowledged()
	pass := drop(c.t, c.httpbin, "tcp dport 80 tcp flags & rst == 0")
	c.client.set(unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<17) // room for what nobody acknowledges
	c.client.send(50_000)
	c.client.eventually("data is in flight", func(i *unix.TCPInfo) bool { return i.Unacked > 0 })
	c.sweep()
	c.client.reset()
	require.ErrorIs(c.t, c.server.drain(), unix.ECONNRESET)
	c.server.close()
	pass()
	require.Equal(c.t, uint64(51_000), c.client.wrote)
	c.outbound = &payload{sent: c.server.read}
	c.verify()
}

// The receiver's kernel holds what its application did not read, which counts: the peer
// learned that it arrived.
func resetFullWindow(c *conversation) {
	c.connect()
	require.NoError(c.t, unix.SetNonblock(c.client.fd, true))
	buffer := make([]byte, 1<<16)
	fill := func() bool {
		n, err := unix.Write(c.client.fd, buffer)
		if err == nil {
			c.client.wrote += uint64(n)
		}
		return err != nil
	}
	for !fill() {
	}
	// The window is closed, and nothing is on the way.
	c.client.eventually("the window is full", func(i *unix.TCPInfo) bool {
		return fill() && i.Unacked == 0 && i.Notsent_bytes > 0
	})
	c.sweep()
	acknowledged := c.client.info().Bytes_acked - 1 // the SYN
	require.Less(c.t, acknowledged, c.client.wrote)
	c.client.reset()
	require.ErrorIs(c.t, c.server.drain(), unix.ECONNRESET)
	c.server.close()
	require.Equal(c.t, acknowledged, c.server.read)
	c.outbound = &payload{sent: acknowledged}
	c.verify()
}

// The kernel answers such a close with RST. What arrived was received, read or not.
func closedUnread(c *conversation) {
	c.connect()
	c.client.send(1000)
	c.client.acknowledged()
	c.server.receive(300)
	c.server.close()
	require.ErrorIs(c.t, c.client.drain(), unix.ECONNRESET)
	c.client.close()
	c.inbound = &payload{received: c.client.wrote}
	outbound, inbound := c.verify()
	assert.Equal(c.t, ending{KindClosed, established, 0}, endingOf(&inbound))
	assert.Equal(c.t, ending{KindClosed, established, unix.ECONNRESET}, endingOf(&outbound))
}

func retransmits(c *conversation) {
	c.connect()
	for _, host := range []*testhost.Host{c.sleep, c.httpbin} {
		drop(c.t, host, "meta l4proto tcp numgen inc mod 20 == 0")
	}
	c.transfer(c.client, c.server, 3_000_000)
	c.sweep()
	c.transfer(c.server, c.client, 1_000_000)
	c.client.acknowledged()
	c.server.acknowledged()
	client, server := c.client.info().Total_retrans, c.server.info().Total_retrans
	c.finish(c.client, c.server)
	outbound, inbound := c.verify()
	assert.Positive(c.t, client, "nothing was dropped: this shows nothing")
	// A FIN may be lost too.
	assert.GreaterOrEqual(c.t, outbound.Total.Retransmits, uint64(client))
	assert.GreaterOrEqual(c.t, inbound.Total.Retransmits, uint64(server))
	for _, r := range []Record{outbound, inbound} {
		assert.LessOrEqual(c.t, r.Total.Lost, uint64(1)<<31, "a total is never below 0")
	}
	assert.Positive(c.t, outbound.Total.Lost)
}
