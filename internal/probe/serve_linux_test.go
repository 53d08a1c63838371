// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// needs skips a test where the kernel refuses an optional program. Those that are emulated take all.
func needs(t *testing.T, p *Probe, part Part) {
	t.Helper()
	for _, m := range p.Missing() {
		if m.Part == part {
			require.Empty(t, os.Getenv("KMESH_EMULATED"), "%s: %v", part.Name, m.Err)
			t.Skipf("SKIPPED, NOT TESTED: this kernel does not run %s: %v", part.Name, m.Err)
		}
	}
}

// lacking returns what is missing, without the programs at functions of the kernel, which some kernels refuse whatever
// they are. The tests of those programs say where they must run.
func lacking(p *Probe) []Missing {
	return slices.DeleteFunc(slices.Clone(p.Missing()), func(m Missing) bool {
		return m.Part == partAccepted || m.Part == partRedirect
	})
}

// file gives the socket's descriptor to a process.
func file(t *testing.T, socket interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := socket.File()
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func command(p *Record) string { return strings.TrimRight(string(p.Process.Comm[:]), "\x00") }

// As systemd's socket units with Accept=no: one process listens, another one accepts.
func TestTheProcessThatAcceptsIsTheServer(t *testing.T) {
	p := open(t, Options{})
	needs(t, p, partAccepted)
	sleep, httpbin := hosts(t)
	listener := listen(t, httpbin, "10.244.0.11:80")
	server := exec.Command(os.Args[0]) // #nosec G204 -- this program
	server.Env = append(os.Environ(), acceptInherited+"=1")
	server.ExtraFiles = []*os.File{file(t, listener)}
	require.NoError(t, server.Start())
	client := dial(t, sleep, "10.244.0.11:80")
	_, err := client.Write(make([]byte, 100))
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.NoError(t, server.Wait())

	records := readUntil(t, p, func(r *Record) bool { return port(r) == 80 }, atLeast(2))
	inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
	assert.Equal(t, uint32(server.Process.Pid), inbound.Process.Pid)
	assert.Equal(t, uint64(100), inbound.Total.Received)
	assert.Equal(t, uint32(os.Getpid()), end(t, records, uint32(Outbound), uint32(KindClosed)).Process.Pid)
}

// inetd and systemd's Accept=yes accept themselves, and start a program for the connection.
func TestTheProgramThatIsStartedForAConnectionIsTheServer(t *testing.T) {
	t.Setenv(echoInput, "1")
	own := filepath.Base(os.Args[0])
	own = own[:min(len(own), 15)]
	for name, tt := range map[string]struct {
		args []string
		at3  bool
		want string
	}{
		"as standard input":             {args: []string{os.Args[0]}, want: own},
		"as descriptor 3":               {args: []string{"sh", "-c", "read line <&3; echo $line >&3"}, at3: true, want: "sh"},
		"a program that becomes it":     {args: []string{"sh", "-c", "exec " + os.Args[0]}, want: own},
		"a program that starts another": {args: []string{"sh", "-c", os.Args[0] + "; true"}, want: "sh"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, Options{})
			needs(t, p, partHandedOver)
			sleep, httpbin := hosts(t)
			client, accepted := pair(t, sleep, listen(t, httpbin, "10.244.0.11:80"))
			server := exec.Command(tt.args[0], tt.args[1:]...) // #nosec G204 -- as above
			conn := file(t, accepted)
			if tt.at3 {
				server.ExtraFiles = []*os.File{conn}
			} else {
				server.Stdin, server.Stdout = conn, conn
			}
			require.NoError(t, server.Start())
			require.NoError(t, conn.Close())
			require.NoError(t, accepted.Close())
			sent := []byte("hello\n")
			_, err := client.Write(sent)
			require.NoError(t, err)
			require.NoError(t, client.CloseWrite())
			answer := make([]byte, len(sent)+1)
			n, err := readAll(client, answer)
			require.NoError(t, err)
			assert.Equal(t, string(sent), string(answer[:n]))
			require.NoError(t, server.Wait())
			require.NoError(t, client.Close())

			records := readUntil(t, p, func(r *Record) bool { return port(r) == 80 && r.Kind == KindClosed }, atLeast(2))
			inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
			assert.Equal(t, uint32(server.Process.Pid), inbound.Process.Pid)
			assert.Equal(t, tt.want, command(&inbound))
			assert.Equal(t, [2]uint64{6, 6}, [2]uint64{inbound.Total.Sent, inbound.Total.Received})
			outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
			assert.Equal(t, uint32(os.Getpid()), outbound.Process.Pid, "a client's end stays its process's")
		})
	}
}

func readAll(conn net.Conn, into []byte) (n int, err error) {
	for {
		m, err := conn.Read(into[n:])
		n += m
		if m == 0 || err != nil {
			return n, nil //nolint:nilerr // the end of it
		}
	}
}

func askOriginalDestination(t *testing.T, conn *net.TCPConn, level int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var answer [unix.SizeofSockaddrInet6]byte
	length := uint32(len(answer))
	var errno syscall.Errno
	require.NoError(t, raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), unix.SO_ORIGINAL_DST,
			uintptr(unsafe.Pointer(&answer[0])), uintptr(unsafe.Pointer(&length)), 0)
	}))
	require.Zero(t, errno)
}

// A proxy asks with SO_ORIGINAL_DST where its client wanted to go before a redirect.
func TestAProxysEndHasWhatTheKernelToldItOfARedirect(t *testing.T) {
	for name, tt := range map[string]struct {
		address, listener string
		level             int
		asks              bool
	}{
		"IPv4":        {"10.244.0.11:80", "10.244.0.11:15006", unix.SOL_IP, true},
		"IPv6":        {"[fd00::11]:80", "[fd00::11]:15006", unix.SOL_IPV6, true},
		"IPv4-mapped": {"10.244.0.11:80", "[::]:15006", unix.SOL_IP, true},
		"nobody asks": {"10.244.0.11:80", "10.244.0.11:15006", unix.SOL_IP, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, Options{})
			needs(t, p, partRedirect)
			sleep, httpbin := hosts(t)
			httpbin.Run("nft", "table inet sidecar { chain pre { type nat hook prerouting priority -100; tcp dport 80 redirect to :15006; }; }")
			listener := listen(t, httpbin, tt.listener)
			client := dial(t, sleep, tt.address)
			server, err := listener.AcceptTCP()
			require.NoError(t, err)
			asked := netip.MustParseAddrPort(tt.address)
			want := netip.AddrPort{}
			if tt.asks {
				want = asked
				askOriginalDestination(t, server, tt.level)
			}
			exchange(t, client, server, 100, 10)

			redirected := netip.AddrPortFrom(asked.Addr(), 15006)
			records := readUntil(t, p, func(r *Record) bool { return ours(r) && AddrPort(&r.Destination) == redirected }, atLeast(1))
			inbound := end(t, records, uint32(Inbound), uint32(KindClosed))
			assert.Equal(t, want, AddrPort(&inbound.Original))
			assert.Equal(t, [2]uint64{10, 100}, [2]uint64{inbound.Total.Sent, inbound.Total.Received})
		})
	}
}
