// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

func sweep(t *testing.T, p *Probe, all bool, keep func(*Record) bool) []Record {
	t.Helper()
	var records []Record
	require.NoError(t, p.Sweep(all, func(r *Record) {
		if keep(r) {
			records = append(records, *r)
		}
	}))
	return records
}

func TestAnOpenConnectionIsReportedOnlyWhenItMoved(t *testing.T) {
	p := open(t, Options{amend: atOnce})
	sleep, httpbin := hosts(t)
	client, server := pair(t, sleep, listen(t, httpbin, "10.244.0.11:80"))
	sendAndRead(t, client, server, 5)
	sendAndRead(t, server, client, 7)
	isIt := func(r *Record) bool {
		return AddrPort(&r.Source) == client.LocalAddr().(*net.TCPAddr).AddrPort()
	}

	first := sweep(t, p, false, isIt)
	require.Len(t, first, 2)
	outbound := end(t, first, uint32(Outbound), uint32(KindOpen))
	// What the server sent last may not be acknowledged yet: the receiver's side is exact.
	assert.Equal(t, uint64(7), outbound.Delta.Received)
	assert.Equal(t, uint64(1), outbound.Delta.Opened)
	inbound := end(t, first, uint32(Inbound), uint32(KindOpen))
	assert.Equal(t, uint64(5), inbound.Delta.Received)
	assert.Equal(t, bpf.TCPTcpStateTCP_ESTABLISHED, inbound.State)

	// Once everything is acknowledged nothing moves any more.
	require.Eventually(t, func() bool { return len(sweep(t, p, false, isIt)) == 0 }, within, 10*time.Millisecond)
	resting := sweep(t, p, true, isIt)
	require.Len(t, resting, 2, "all of them are reported when asked for")
	for _, r := range resting {
		assert.Zero(t, r.Delta)
		assert.Equal(t, uint64(12), r.Total.Sent+r.Total.Received)
	}

	for _, use := range p.maps() {
		if use.Name != "connections" { // whose memory is the sockets'
			assert.NotZero(t, use.Bytes, use.Name)
		} else {
			assert.GreaterOrEqual(t, use.Entries, uint64(2), "both ends are followed")
		}
	}

	sendAndRead(t, client, server, 3)
	require.NoError(t, client.Close())
	require.NoError(t, server.Close())
	closed := readUntil(t, p, isIt, atLeast(2))
	outbound = end(t, closed, uint32(Outbound), uint32(KindClosed))
	assert.Equal(t, [2]uint64{3, 0}, [2]uint64{outbound.Delta.Sent, outbound.Delta.Opened})
	assert.Equal(t, [2]uint64{8, 7}, [2]uint64{outbound.Total.Sent, outbound.Total.Received})
	assert.Empty(t, sweep(t, p, true, isIt), "a connection that is over is not reported any more")
}

// connect makes a blocking connect(2), which an ICMP error ends only while the socket
// is not in use: that of the first SYN may come too early on a veth pair, that of
// the second one does not.
func connect(t *testing.T, host *testhost.Host, to netip.AddrPort, timeout time.Duration) (err error) {
	t.Helper()
	host.Do(func() {
		family := unix.AF_INET
		var address unix.Sockaddr
		if to.Addr().Is6() {
			family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
		} else {
			address = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
		}
		var fd int
		if fd, err = unix.Socket(family, unix.SOCK_STREAM, 0); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		limit := unix.NsecToTimeval(timeout.Nanoseconds())
		if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err == nil {
			err = unix.Connect(fd, address)
		}
	})
	return err
}

func TestAFailedConnectIsReportedWithItsReason(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	httpbin.Run("nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }; "+
		"add rule inet t in tcp dport 81 drop; add rule inet t in tcp dport 82 reject with icmpx type host-unreachable; "+
		"add rule inet t in meta nfproto ipv4 tcp dport 83 reject with icmp type net-unreachable; "+
		"add rule inet t in meta nfproto ipv6 tcp dport 83 reject with icmpv6 type no-route")
	for _, test := range []struct {
		name    string
		port    string
		timeout time.Duration
		seen    syscall.Errno // by the application
		error   syscall.Errno // in the record
	}{
		{"refused", "80", within, unix.ECONNREFUSED, unix.ECONNREFUSED},
		{"cancelled", "81", 50 * time.Millisecond, unix.EINPROGRESS, 0},
		{"host unreachable", "82", within, unix.EHOSTUNREACH, unix.EHOSTUNREACH},
		{"network unreachable", "83", within, unix.ENETUNREACH, unix.ENETUNREACH},
	} {
		for _, host := range []string{"10.244.0.11", "fd00::11"} {
			t.Run(test.name+" "+host, func(t *testing.T) {
				address := netip.MustParseAddrPort(net.JoinHostPort(host, test.port))
				assert.ErrorIs(t, connect(t, sleep, address, test.timeout), test.seen)
				records := readUntil(t, p, func(r *Record) bool { return AddrPort(&r.Destination) == address }, atLeast(1))
				require.Len(t, records, 1)
				r := records[0]
				assert.Equal(t, [2]uint32{uint32(KindFailed), uint32(Outbound)}, [2]uint32{uint32(r.Kind), uint32(r.Direction)})
				assert.Equal(t, test.error, syscall.Errno(r.Error))
				assert.Zero(t, r.Total.Sent+r.Total.Received+r.Total.Opened)
				assert.Zero(t, r.Unsent)
				assert.Equal(t, address, AddrPort(&r.Original))
			})
		}
	}
}

// atOnce has accepted connections reported however young they are.
func atOnce(spec *ebpf.CollectionSpec) {
	if err := spec.Variables["youth"].Set(uint64(0)); err != nil {
		panic(err)
	}
}

// Until then it is not known who accepts, and where a proxy's client wanted to go.
func TestAnAcceptedConnectionIsNotReportedBeforeItHadTimeToBeAccepted(t *testing.T) {
	p := open(t, Options{amend: func(spec *ebpf.CollectionSpec) {
		require.NoError(t, spec.Variables["youth"].Set(uint64(time.Hour)))
	}})
	sleep, httpbin := hosts(t)
	client, server := pair(t, sleep, listen(t, httpbin, "10.244.0.11:80"))
	sendAndRead(t, client, server, 5)
	young := sweep(t, p, false, toPort(80))
	require.Len(t, young, 1)
	assert.Equal(t, Outbound, young[0].Direction)
	assert.Len(t, sweep(t, p, true, toPort(80)), 2, "all")
	exchange(t, client, server, 1, 1)
	inbound := end(t, readUntil(t, p, toPort(80), atLeast(2)), uint32(Inbound), uint32(KindClosed))
	assert.Equal(t, [2]uint64{1, 6}, [2]uint64{inbound.Total.Sent, inbound.Total.Received})
}

func TestAnAcceptedConnectionBelongsToItsListenersProcess(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	server := httpbin.Command(os.Args[0])
	server.Env = append(os.Environ(), serve+"=10.244.0.11:80")
	output, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	said, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "listening\n", said)

	client := dial(t, sleep, "10.244.0.11:80")
	require.NoError(t, client.Close())
	require.NoError(t, server.Wait())
	source := client.LocalAddr().(*net.TCPAddr).AddrPort()
	records := readUntil(t, p, func(r *Record) bool { return AddrPort(&r.Source) == source && port(r) == 80 }, atLeast(2))
	inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
	assert.Equal(t, uint32(server.Process.Pid), inbound.Process.Pid) // ip(8) execs the command
	assert.Equal(t, "probe.test", unix.ByteSliceToString(inbound.Process.Comm[:]))
	outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
	assert.Equal(t, uint32(os.Getpid()), outbound.Process.Pid)
}

func TestAConnectionOlderThanTheProbeCountsFromItsStart(t *testing.T) {
	testhost.RequireRoot(t)
	sleep, httpbin := hosts(t)
	client, server := pair(t, sleep, listen(t, httpbin, "10.244.0.11:80"))
	sendAndRead(t, client, server, 1000)
	sendAndRead(t, server, client, 2000)
	isIt := func(r *Record) bool {
		return AddrPort(&r.Source) == client.LocalAddr().(*net.TCPAddr).AddrPort()
	}

	p := open(t, Options{})
	sendAndRead(t, client, server, 3)
	exchange(t, client, server, 1, 4)
	records := readUntil(t, p, isIt, atLeast(2))
	outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
	inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
	assert.Zero(t, outbound.Delta.Opened+inbound.Delta.Opened)
	assert.Equal(t, [2]uint64{4, 4}, [2]uint64{outbound.Delta.Sent, outbound.Delta.Received})
	assert.Equal(t, [2]uint64{4, 4}, [2]uint64{inbound.Delta.Sent, inbound.Delta.Received})
	assert.Equal(t, outbound.Delta, outbound.Total, "its totals begin with the probe, as its differences do")
	assert.Equal(t, uint32(os.Getpid()), inbound.Process.Pid)
}

func TestASweepThatFindsNoRoomGoesOn(t *testing.T) {
	const connections = 100
	p := open(t, Options{OpensBytes: 4096, amend: atOnce})
	sleep, httpbin := hosts(t)
	listener := listen(t, httpbin, "10.244.0.11:80")
	for range connections {
		pair(t, sleep, listener)
	}
	records := sweep(t, p, false, toPort(80))
	assert.Len(t, records, 2*connections)
	ids := map[uint64]bool{}
	for _, r := range records {
		ids[r.Id] = true
	}
	assert.Len(t, ids, 2*connections)
	assert.Len(t, sweep(t, p, true, toPort(80)), 2*connections)
}

func TestLoopbackIsLeftOutUnlessAskedFor(t *testing.T) {
	for _, include := range []bool{false, true} {
		p := open(t, Options{IncludeLoopback: include})
		_, httpbin := hosts(t)
		local := listen(t, httpbin, "127.0.0.1:80")
		client, server := pair(t, httpbin, local)
		exchange(t, client, server, 1, 1)
		client6, server6 := pair(t, httpbin, listen(t, httpbin, "[::1]:80"))
		exchange(t, client6, server6, 1, 1)
		// A last one that is always reported marks the end of what can come.
		own := listen(t, httpbin, "10.244.0.11:81")
		clientOwn, serverOwn := pair(t, httpbin, own)
		exchange(t, clientOwn, serverOwn, 1, 1)

		loopback := 0
		readUntil(t, p, func(r *Record) bool {
			if ours(r) && port(r) == 80 {
				loopback++
			}
			return ours(r) && port(r) == 81
		}, atLeast(2))
		assert.Equal(t, map[bool]int{false: 0, true: 4}[include], loopback)
	}
}

func TestASocketThatConnectsAgainIsAnotherConnection(t *testing.T) {
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	listen(t, httpbin, "10.244.0.11:80")
	var fd int
	var err error
	sleep.Do(func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) })
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	refused := unix.SockaddrInet4{Addr: [4]byte{10, 244, 0, 11}, Port: 81}
	require.ErrorIs(t, unix.Connect(fd, &refused), unix.ECONNREFUSED)
	accepted := unix.SockaddrInet4{Addr: [4]byte{10, 244, 0, 11}, Port: 80}
	require.NoError(t, unix.Connect(fd, &accepted))
	require.NoError(t, unix.Shutdown(fd, unix.SHUT_RDWR))
	require.NoError(t, unix.Close(fd))

	isIt := func(r *Record) bool { return r.Direction == Outbound && (port(r) == 80 || port(r) == 81) }
	records := readUntil(t, p, isIt, atLeast(1))
	first := end(t, records, uint32(Outbound), uint32(KindFailed))
	assert.Equal(t, "10.244.0.11:81", AddrPort(&first.Original).String())
}
