// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// A network card's interrupt can come while a program runs, and the packets that it brings
// change other connections' states on the same CPU. On a veth pair packets come as calls
// unless they are steered: then they come as interrupts from the other CPU.
func TestStatesThatChangeWhileTheProgramRunsAreNotMissed(t *testing.T) {
	const workers = 16
	rounds, each := uint64(25), 100
	if more := os.Getenv("KMESH_NESTED_ROUNDS"); more != "" {
		var err error
		rounds, err = strconv.ParseUint(more, 10, 64)
		require.NoError(t, err)
	}
	if testing.Short() { // an emulated machine takes minutes for them
		rounds = 4
	}
	p := open(t, Options{})
	sleep, httpbin := hosts(t)
	for _, host := range []*testhost.Host{sleep, httpbin} {
		host.Run("sh", "-c", "echo 3 > /sys/class/net/eth0/queues/rx-0/rps_cpus")
		host.Run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0") // or the ports run out
	}
	listener := listen(t, httpbin, "10.244.0.11:80")
	withheld := watchWithheld(t, p)

	var whole, nested uint64
	var hidden int64
	all := uint64(workers * each)
	for range rounds {
		before := misses(t, p)
		withheld() // what the hosts did by themselves since the last round
		load(t, sleep, listener, workers, each)
		// The last FINs are still on their way.
		require.Eventually(t, func() bool {
			return httpbin.Run("ss", "-Htn")+sleep.Run("ss", "-Htn") == ""
		}, within, time.Millisecond)
		sheets, _ := settle(t, p)
		if n := withheld(); n != 0 {
			hidden += n
			for direction, s := range sheets {
				assert.Zero(t, s.failed, "an opening that nobody saw made failures of %v", direction)
				assert.LessOrEqual(t, s.closed, all)
			}
			continue
		}
		whole++
		nested += misses(t, p) - before
		for direction, s := range sheets {
			want := sheet{opened: all, closed: all, sent: all}
			if direction == Inbound {
				want.sent, want.received = 0, all
			}
			assert.Equal(t, want, *s, "direction %v", direction)
		}
	}
	if nested == 0 {
		t.Skipf("SKIPPED, NOT TESTED: in %d rounds no interrupt came while the program ran", whole)
	}
	tally, err := p.Tally()
	require.NoError(t, err)
	t.Logf("%d rounds of %d connections: %d states changed while set_state ran, %d ends were noticed later", whole, all, nested, tally.Late)
	t.Logf("%d rounds in which the kernel showed %d changes to no program", rounds-whole, hidden)
}

// watchWithheld returns a function that counts how many state changes the kernel did not show
// to the probe's programs since it was called last. There should be none: but the kernel of a
// virtual machine was seen that runs no tracing program while its process 1 is on the CPU.
func watchWithheld(t *testing.T, p *Probe) func() int64 {
	t.Helper()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, stats.Close()) })
	counters := countRaised(t)
	var last int64
	return func() int64 {
		s, err := p.objects.setState.Stats()
		require.NoError(t, err)
		now := -int64(s.RunCount + s.RecursionMisses)
		for _, counter := range counters {
			var value [8]byte
			_, err := unix.Read(counter, value[:])
			require.NoError(t, err)
			now += int64(binary.NativeEndian.Uint64(value[:]))
		}
		since := now - last
		last = now
		return since
	}
}

// countRaised opens the kernel's own counters of the tracepoint, one for each CPU. They run
// no program, so nothing keeps them from counting.
func countRaised(t *testing.T) (counters []int) {
	t.Helper()
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_TRACEPOINT, Config: tracepointID(t, "sock/inet_sock_set_state"),
		Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
	}
	for cpu := range ebpf.MustPossibleCPU() {
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ENODEV) { // possible, not there
			continue
		}
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, unix.Close(fd)) })
		counters = append(counters, fd)
	}
	return counters
}

// tracepointID reads the number from a tracefs of its own: not every machine has one mounted.
func tracepointID(t *testing.T, name string) uint64 {
	t.Helper()
	folder, err := os.MkdirTemp("", "tracefs-")
	require.NoError(t, err)
	defer func() { assert.NoError(t, os.Remove(folder)) }()
	require.NoError(t, unix.Mount("tracefs", folder, "tracefs", 0, ""))
	defer func() { assert.NoError(t, unix.Unmount(folder, 0)) }()
	text, err := os.ReadFile(filepath.Join(folder, "events", name, "id"))
	require.NoError(t, err)
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	require.NoError(t, err)
	return id
}

// misses returns how often set_state was not run because it was running.
func misses(t *testing.T, p *Probe) uint64 {
	t.Helper()
	s, err := p.objects.setState.Stats()
	require.NoError(t, err)
	return s.RecursionMisses
}

// load makes connections from many threads at once, and waits until both sides closed them.
func load(t *testing.T, from *testhost.Host, listener net.Listener, workers, each int) {
	t.Helper()
	served, asked := make(chan error, 1), make(chan error, workers)
	go func() { served <- answer(listener, workers*each) }()
	for range workers {
		go from.Do(func() {
			var err error
			for i := 0; i < each && err == nil; i++ {
				err = askAndClose()
			}
			asked <- err
		})
	}
	for range workers {
		require.NoError(t, <-asked)
	}
	require.NoError(t, <-served)
}

// askAndClose connects, sends a byte, and closes once the server has closed.
func askAndClose() (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{10, 244, 0, 11}}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := unix.Write(fd, []byte{1}); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	for {
		n, err := unix.Read(fd, make([]byte, 1))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != 0 {
			return fmt.Errorf("read %d bytes instead of the end: %w", n, err)
		}
		return nil
	}
}

// answer accepts n connections, and closes each when its client has.
func answer(listener net.Listener, n int) error {
	closed := make(chan error, n)
	for range n {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, err := io.Copy(io.Discard, conn)
			closed <- errors.Join(err, conn.Close())
		}()
	}
	for range n {
		if err := <-closed; err != nil {
			return err
		}
	}
	return nil
}
