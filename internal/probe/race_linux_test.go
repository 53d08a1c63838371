// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// raceConnections is how many connections the race makes; KMESH_RACE_CONNECTIONS asks
// for more.
const raceConnections = 100_000

// ledger holds each end's differences against its last total.
type ledger struct {
	open   map[uint64]account
	closed int
	sums   map[Direction]Counters
}

// account is what was reported of an end. The report of its close may be read before one
// that the iterator made a moment earlier: only together they add up.
type account struct {
	reported, total Counters
	closed          bool
}

func add(a, b Counters) Counters {
	return Counters{
		Opened: a.Opened + b.Opened, Sent: a.Sent + b.Sent, Received: a.Received + b.Received,
		Retransmits: a.Retransmits + b.Retransmits, Lost: a.Lost + b.Lost,
	}
}

func (l *ledger) enter(r *Record) {
	l.sums[r.Direction] = add(l.sums[r.Direction], r.Delta)
	a := l.open[r.Id]
	a.reported = add(a.reported, r.Delta)
	if r.Kind == KindClosed {
		l.closed++
		a.closed, a.total = true, r.Total
	}
	if a.closed && a.reported == a.total {
		delete(l.open, r.Id)
		return
	}
	l.open[r.Id] = a
}

// TestTheCloseAndTheIteratorNeverReportTheSameByte closes connections as fast as one CPU
// can while the other walks over them without a pause.
func TestTheCloseAndTheIteratorNeverReportTheSameByte(t *testing.T) {
	connections := raceConnections
	if testing.Short() { // an emulated machine takes minutes for them
		connections /= 50
	}
	if more := os.Getenv("KMESH_RACE_CONNECTIONS"); more != "" {
		var err error
		connections, err = strconv.Atoi(more)
		require.NoError(t, err)
	}
	p := open(t, Options{})
	host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
	withheld := watchWithheld(t, p)
	// Without TIME_WAIT the ports do not run out.
	host.Run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0")

	type outcome struct {
		up, down uint64
		err      error
	}
	done := make(chan outcome, 1)
	go host.Do(func() {
		up, down, err := churn(connections)
		done <- outcome{up, down, err}
	})

	l := ledger{open: map[uint64]account{}, sums: map[Direction]Counters{}}
	take := func(r *Record) {
		if ours(r) && port(r) == 80 {
			l.enter(r)
		}
	}
	// The iterator runs by itself here, far more often than a Sweep would.
	stop, passes := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				passes <- n
				return
			default:
				assert.NoError(t, p.objects.walkAll())
			}
		}
	}()
	var result outcome
	for running := true; running; {
		require.NoError(t, p.Read(time.Now().Add(time.Millisecond), take))
		require.NoError(t, p.drain(p.opens, time.Now(), take))
		select {
		case result = <-done:
			running = false
		default:
		}
	}
	close(stop)
	walked := <-passes
	require.NoError(t, result.err)
	for deadline := time.Now().Add(within); l.closed < 2*connections && time.Now().Before(deadline); {
		require.NoError(t, p.Read(time.Now().Add(time.Millisecond), take))
	}
	require.NoError(t, p.Sweep(false, take)) // what the walk reported last

	tally, err := p.Tally()
	require.NoError(t, err)
	require.Zero(t, tally.Lost, "the reader was too slow: this shows nothing of the race")
	// Where the kernel showed a change to no program, as much may be missing, and nothing may be there twice.
	hidden := withheld()
	assert.LessOrEqual(t, l.closed, 2*connections)
	assert.GreaterOrEqual(t, int64(l.closed), int64(2*connections)-hidden)
	assert.Empty(t, l.open, "ends whose differences do not add up to their total")
	for direction, sum := range l.sums {
		sum.Retransmits, sum.Lost = 0, 0 // a machine that is slow to answer is asked again
		l.sums[direction] = sum
	}
	n := uint64(connections)
	for direction, want := range map[Direction]Counters{
		Outbound: {Opened: n, Sent: result.up, Received: result.down},
		Inbound:  {Opened: n, Sent: result.down, Received: result.up},
	} {
		got := l.sums[direction]
		if hidden == 0 {
			assert.Equal(t, want, got)
		}
		assert.LessOrEqual(t, got.Opened, want.Opened)
		assert.LessOrEqual(t, got.Sent, want.Sent)
		assert.LessOrEqual(t, got.Received, want.Received)
	}
	reported := p.counts.Read - uint64(l.closed)
	assert.Positive(t, reported, "the iterator never met an open connection: this shows nothing")
	t.Logf("%d connections under %d passes of the iterator, which reported %d open ends; the kernel showed %d changes to no program",
		connections, walked, reported, hidden)
}

// churn opens, uses and closes connections on one thread, and counts the bytes. Every
// other one ends with RST.
func churn(connections int) (up, down uint64, err error) {
	address := &unix.SockaddrInet4{Port: 80, Addr: [4]byte{10, 244, 0, 11}}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = unix.Close(listener) }()
	if err := unix.Bind(listener, address); err != nil {
		return 0, 0, err
	}
	if err := unix.Listen(listener, 128); err != nil {
		return 0, 0, err
	}
	buffer := make([]byte, 4096)
	for i := range connections {
		request, response := i%1000, i*7%3000
		if err := one(listener, address, buffer, request, response, i%2 == 0); err != nil {
			return up, down, fmt.Errorf("connection %d: %w", i, err)
		}
		up, down = up+uint64(request), down+uint64(response)
	}
	return up, down, nil
}

func one(listener int, address unix.Sockaddr, buffer []byte, request, response int, reset bool) error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(client) }()
	if err := unix.Connect(client, address); err != nil {
		return err
	}
	server, _, err := unix.Accept(listener)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(server) }()
	if err := transfer(client, server, buffer, request); err != nil {
		return err
	}
	if err := transfer(server, client, buffer, response); err != nil {
		return err
	}
	if reset {
		return unix.SetsockoptLinger(server, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return nil
}

func transfer(from, to int, buffer []byte, n int) error {
	if _, err := unix.Write(from, buffer[:n]); err != nil {
		return err
	}
	for n > 0 {
		read, err := unix.Read(to, buffer[:n])
		if err != nil {
			return err
		}
		n -= read
	}
	return nil
}
