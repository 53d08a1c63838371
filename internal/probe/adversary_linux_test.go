// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// These make the test's binary a process of an unprivileged user, in a user and a network namespace
// of its own.
const (
	failConnects = "KMESH_TEST_FAIL_CONNECTS" // the argument: how many
	holdOpen     = "KMESH_TEST_HOLD_OPEN"     // the argument: how many
)

func init() {
	roles[failConnects] = func(argument string) error {
		n, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		return failAll(n)
	}
	roles[holdOpen] = func(argument string) error {
		n, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		return holdAll(n)
	}
}

// unprivileged starts the test's binary in such a role, and returns what it reads and writes.
func unprivileged(t *testing.T, role, argument string) (said *bufio.Reader, end func()) {
	t.Helper()
	testhost.RequireRoot(t)
	const nobody = 65534
	cmd := exec.Command("/proc/self/exe") // which no folder on its way forbids
	cmd.Env = append(os.Environ(), role+"="+argument)
	cmd.Stderr = os.Stderr
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: one, GidMappings: one,
		Credential: &syscall.Credential{NoSetGroups: true}, // root there, nobody here
	}
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var ended bool
	end = func() {
		if !ended {
			ended = true
			_ = input.Close()
			assert.NoError(t, cmd.Wait())
		}
	}
	t.Cleanup(end)
	return bufio.NewReader(output), end
}

// failAll makes connects that find no route, with thousands of sockets at once: those of the
// next round have other addresses in the kernel.
func failAll(n int) error {
	const atOnce = 15_000
	for n > 0 {
		var open []int
		for range min(n, atOnce) {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			open = append(open, fd)
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{10, 1, 2, 3}})
			if !errors.Is(err, unix.ENETUNREACH) {
				return fmt.Errorf("a connect without a route: %w", err)
			}
		}
		for _, fd := range open {
			if err := unix.Close(fd); err != nil {
				return err
			}
		}
		n -= len(open)
	}
	fmt.Println("done")
	return nil
}

func holdAll(n int) error {
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		return err
	}
	for range n {
		conn, err := net.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		accepted, err := listener.Accept()
		if err != nil {
			return err
		}
		defer func() { _ = accepted.Close() }()
	}
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func entriesOfConnections(t *testing.T, p *Probe) uint64 {
	t.Helper()
	for _, use := range p.maps() {
		if use.Name == "connections" {
			return use.Entries
		}
	}
	require.Fail(t, "no such map")
	return 0
}

// No connect that failed before its SYN leaves an entry behind.
func TestConnectsThatFindNoRouteTakeNoRoomForLong(t *testing.T) {
	connects, connections := 270_000, 2000
	if testing.Short() { // an emulated machine takes minutes for them
		connects, connections = 3000, 100
	}
	p := open(t, Options{})
	before := entriesOfConnections(t, p)
	said, end := unprivileged(t, failConnects, strconv.Itoa(connects))
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "done", strings.TrimSpace(line))
	end()
	// Others come and go on this machine meanwhile.
	require.NoError(t, p.Sweep(false, func(*Record) {}))
	assert.LessOrEqual(t, entriesOfConnections(t, p), before+500)
	assert.LessOrEqual(t, p.walked, before+500, "what the walk finds")

	host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
	host.Run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0")
	var up, down uint64
	host.Do(func() { up, down, err = churn(connections) })
	require.NoError(t, err)
	sheets, _ := settle(t, p)
	n := uint64(connections)
	assert.Equal(t, &sheet{n, n, 0, up, down}, sheets[Outbound])
	assert.Equal(t, &sheet{n, n, 0, down, up}, sheets[Inbound])
	tally, err := p.Tally()
	require.NoError(t, err)
	assert.Zero(t, tally.Untracked)
}

// A user who holds as many connections open as he can leaves room for everybody else, and what he
// has no room for is counted once, and reported when it closes.
func TestNobodyTakesTheWholeMapWithOpenConnections(t *testing.T) {
	const room, held, others = 1600, 2000, 50
	p := open(t, Options{MaxConnections: room, IncludeLoopback: true})
	said, end := unprivileged(t, holdOpen, strconv.Itoa(held))
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open", strings.TrimSpace(line))
	taken := entriesOfConnections(t, p)
	assert.Less(t, taken, uint64(room)*9/10+16, "8/9 of the map, and less than one more in each part")
	untracked, err := p.Tally()
	require.NoError(t, err)

	host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
	listener := listen(t, host, "10.244.0.11:81")
	for range others {
		pair(t, host, listener)
	}
	ends := map[uint64]bool{}
	require.Eventually(t, func() bool { // a walk passes over a socket that is at work
		for _, r := range sweep(t, p, true, toPort(81)) {
			ends[r.Id] = true
		}
		return len(ends) == 2*others
	}, within, time.Millisecond, "they have an entry each")

	end()
	sum := map[Direction]uint64{}
	late := 0
	require.Eventually(t, func() bool {
		require.NoError(t, p.Read(time.Now(), func(r *Record) {
			if AddrPort(&r.Destination).String() == "127.0.0.1:80" && r.Kind == KindClosed {
				sum[r.Direction] += r.Total.Opened
				late += int(r.Late)
			}
		}))
		return sum[Outbound] >= held && sum[Inbound] >= held
	}, within, time.Millisecond)
	assert.Equal(t, map[Direction]uint64{Outbound: held, Inbound: held}, sum)
	assert.Positive(t, late)
	// Each once; others on this machine may have found no room either.
	assert.InDelta(t, late, float64(untracked.Untracked), 500)
	tally, err := p.Tally()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, tally.Opened, uint64(2*held), "the audit has those without an entry too")
}
