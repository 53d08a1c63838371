// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// isns are what both ends of a connection have in common, however its addresses are translated.
type isns struct{ client, server uint32 }

func isnsOf(r *Record) isns { return isns{r.ClientIsn, r.ServerIsn} }

// translate has connections from sleep to 10.96.5.5:8000 go to httpbin, and come from an address
// that sleep did not choose.
func translate(sleep *testhost.Host) {
	sleep.Run("ip", "addr", "add", "10.244.0.77/24", "dev", "eth0")
	sleep.Run("nft", "add table ip nat; add chain ip nat output { type nat hook output priority -100; }; "+
		"add rule ip nat output ip daddr 10.96.5.5 tcp dport 8000 dnat to 10.244.0.11:80; "+
		"add chain ip nat postrouting { type nat hook postrouting priority 100; }; "+
		"add rule ip nat postrouting ip daddr 10.244.0.11 tcp dport 80 snat to 10.244.0.77")
	sleep.Run("ip", "route", "add", "10.96.0.0/16", "dev", "eth0")
}

func TestBothEndsKnowTheSameSequenceNumbers(t *testing.T) {
	connections := 400
	if testing.Short() {
		connections = 40
	}
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	translate(sleep)
	listener := newSocket(t, httpbin, httpbinAddress, unix.IPPROTO_TCP)
	listener.listen(httpbinAddress, 16)
	service := netip.MustParseAddrPort("10.96.5.5:8000")
	for _, host := range []*testhost.Host{sleep, httpbin} {
		drop(t, host, "tcp flags & (syn | rst) == 0 numgen inc mod 100 == 0")
	}

	type pairOfEnds struct {
		outbound, inbound int
		open              bool
	}
	ends := map[isns]*pairOfEnds{}
	take := func(r *Record) {
		if !ours(r) || r.Kind == KindFailed || port(r) != 80 && port(r) != 8000 {
			return
		}
		e := ends[isnsOf(r)]
		if e == nil {
			e = &pairOfEnds{}
			ends[isnsOf(r)] = e
		}
		switch {
		case r.Kind == KindOpen:
			e.open = true
		case r.Direction == Outbound:
			e.outbound++
			assert.Equal(t, service, AddrPort(&r.Destination))
			assert.NotZero(t, r.Connect)
			assert.Less(t, r.Connect, r.Now-r.Start)
		default:
			e.inbound++
			assert.Equal(t, "10.244.0.77", AddrPort(&r.Source).Addr().String())
			assert.Zero(t, r.Connect)
		}
	}
	for i := range connections {
		client := newSocket(t, sleep, service, unix.IPPROTO_TCP)
		client.connect(service)
		server := listener.accept()
		talk(client, server, 100*(1+i%30), 10)
		if i%10 == 0 {
			require.NoError(t, p.Sweep(true, take))
		}
		if i%5 == 0 {
			client.reset()
			require.ErrorIs(t, server.drain(), unix.ECONNRESET)
		} else {
			client.shutdown()
			require.NoError(t, server.drain())
		}
		server.close()
		client.close()
	}
	closed := func() (n int) {
		for _, e := range ends {
			n += e.outbound + e.inbound
		}
		return n
	}
	require.Eventually(t, func() bool {
		require.NoError(t, p.Read(time.Now(), take))
		return closed() >= 2*connections
	}, within, time.Millisecond)
	assert.Len(t, ends, connections)
	seen := 0
	for both, e := range ends {
		assert.Equal(t, [2]int{1, 1}, [2]int{e.outbound, e.inbound}, "%v", both)
		if e.open {
			seen++
		}
	}
	assert.GreaterOrEqual(t, seen, connections/10, "reports of open connections have them too")
}

func TestConnectionsOlderThanTheProbeHaveTheirSequenceNumbers(t *testing.T) {
	testhost.RequireRoot(t)
	sleep, httpbin := hosts(t)
	client, server := pair(t, sleep, listen(t, httpbin, "10.244.0.11:80"))
	sendAndRead(t, client, server, 1000)
	first := open(t, Options{})
	source := client.LocalAddr().(*net.TCPAddr).AddrPort()
	isIt := func(r *Record) bool { return AddrPort(&r.Source) == source }
	var all []Record
	all = append(all, sweep(t, first, true, isIt)...)
	exchange(t, client, server, 1, 4)
	all = append(all, readUntil(t, first, isIt, atLeast(2))...)
	require.Len(t, all, 4)
	for _, r := range all {
		assert.Equal(t, isnsOf(&all[0]), isnsOf(&r))
		assert.Zero(t, r.Connect, "nobody saw it connect")
	}
	assert.NotZero(t, isnsOf(&all[0]))
}

func TestDetailIsThereWhereItIsAskedFor(t *testing.T) {
	for _, asked := range []bool{false, true} {
		p := open(t, Options{Detail: asked})
		sleep, httpbin := hosts(t)
		client, server := pair(t, sleep, listen(t, httpbin, "10.244.0.11:80"))
		sendAndRead(t, client, server, 5000)
		records := sweep(t, p, true, toPort(80))
		exchange(t, client, server, 1, 1)
		records = append(records, readUntil(t, p, toPort(80), atLeast(2))...)
		require.Len(t, records, 4)
		for _, r := range records {
			if !asked {
				assert.Zero(t, r.Detail)
				continue
			}
			assert.Positive(t, r.Detail.SndCwnd)
			assert.Positive(t, r.Detail.SndSsthresh)
			assert.InDelta(t, 1448, r.Detail.Mss, 100)
			assert.Positive(t, r.Detail.SegsIn)
			assert.Positive(t, r.Detail.SegsOut)
			assert.Positive(t, r.Detail.Reordering)
			if r.Direction == Outbound {
				assert.Positive(t, r.Detail.DataSegsOut)
				assert.Positive(t, r.Detail.Delivered)
			} else {
				assert.Positive(t, r.Detail.DataSegsIn)
			}
		}
	}
}
