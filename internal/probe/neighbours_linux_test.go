// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

func TestAProgramThatRewritesAfterUsHidesNothing(t *testing.T) {
	service, pod := netip.MustParseAddrPort("10.96.5.5:8000"), netip.MustParseAddrPort("10.244.0.11:80")
	sleep, httpbin := hosts(t)
	listener := listen(t, httpbin, pod.String())
	p := open(t, Options{})
	balance(t, service, pod) // also kernels without an order of their own run it after us

	client := dial(t, sleep, service.String())
	server, err := listener.AcceptTCP()
	require.NoError(t, err)
	exchange(t, client, server, 1, 1)
	outbound := end(t, readUntil(t, p, toPort(80), atLeast(2)), uint32(Outbound), uint32(KindClosed))
	assert.Equal(t, pod, AddrPort(&outbound.Destination))
	assert.Equal(t, service, AddrPort(&outbound.Original))
}

// deny attaches a program that refuses connects to an IPv4 address.
func deny(t *testing.T, address netip.Addr) {
	t.Helper()
	attachConnect4(t, asm.Instructions{
		asm.Mov.Imm(asm.R0, 1),
		asm.LoadMem(asm.R2, asm.R1, userIP4, asm.Word),
		asm.JNE.Imm32(asm.R2, wire(address), "out"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return().WithSymbol("out"),
	})
}

// A connect that a policy refuses in connect(2) is none: it has no state and no packet, and
// the application gets EPERM. We report nothing of it, and what the socket does next is as
// that of any other.
func TestAConnectThatAnotherProgramDeniesIsNotReported(t *testing.T) {
	for _, before := range []bool{true, false} {
		t.Run(map[bool]string{true: "attached before us", false: "attached after us"}[before], func(t *testing.T) {
			denied := unix.SockaddrInet4{Addr: [4]byte{10, 244, 0, 99}, Port: 81}
			allowed := unix.SockaddrInet4{Addr: [4]byte{10, 244, 0, 11}, Port: 80}
			sleep, httpbin := hosts(t)
			listen(t, httpbin, "10.244.0.11:80")
			if before {
				deny(t, netip.AddrFrom4(denied.Addr))
			}
			p := open(t, Options{})
			if !before {
				deny(t, netip.AddrFrom4(denied.Addr))
			}
			var fd int
			var err error
			sleep.Do(func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) })
			require.NoError(t, err)
			defer func() { _ = unix.Close(fd) }()
			require.ErrorIs(t, unix.Connect(fd, &denied), unix.EPERM)
			require.NoError(t, unix.Connect(fd, &allowed))
			require.NoError(t, unix.Shutdown(fd, unix.SHUT_RDWR))
			require.NoError(t, unix.Close(fd))

			// The allowed one comes last: what there were of the other would be before it.
			records := readUntil(t, p, func(r *Record) bool {
				return ours(r) && r.Direction == Outbound && (port(r) == 80 || port(r) == 81)
			}, atLeast(1))
			require.Len(t, records, 1)
			assert.Equal(t, "10.244.0.11:80", AddrPort(&records[0].Destination).String())
			assert.Equal(t, "10.244.0.11:80", AddrPort(&records[0].Original).String())
		})
	}
}

// A program that admits no others at its hook costs the original destination, and nothing else.
func TestAProgramThatAdmitsNoOthersIsNamed(t *testing.T) {
	cgroup := ownCgroup(t)
	folder, err := os.Open(cgroup)
	require.NoError(t, err)
	defer func() { _ = folder.Close() }()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	require.NoError(t, err)
	defer func() { _ = program.Close() }()
	alone := link.RawAttachProgramOptions{Target: int(folder.Fd()), Program: program, Attach: ebpf.AttachCGroupInet4Connect}
	require.NoError(t, link.RawAttachProgram(alone))
	defer func() {
		assert.NoError(t, link.RawDetachProgram(link.RawDetachProgramOptions{
			Target: int(folder.Fd()), Program: program, Attach: ebpf.AttachCGroupInet4Connect,
		}))
	}()

	p := open(t, Options{CgroupPath: cgroup})
	missing := map[string]error{}
	for _, m := range p.Missing() {
		missing[m.Name] = m.Err
	}
	require.ErrorContains(t, missing[partConnect4.Name], "another program is attached there that admits no others")
	assert.NotContains(t, missing, partConnect6.Name)
	sleep, httpbin := hosts(t)
	client, server := pair(t, sleep, listen(t, httpbin, "10.244.0.11:80"))
	exchange(t, client, server, 1, 1)
	outbound := end(t, readUntil(t, p, toPort(80), atLeast(2)), uint32(Outbound), uint32(KindClosed))
	assert.Equal(t, uint64(1), outbound.Total.Sent)
}

// stateWatcher is another program on our tracepoint that keeps its own storage in the
// same sockets: how often each of them changed its state.
func stateWatcher(t *testing.T) *ebpf.Map {
	t.Helper()
	changes, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "changes", Type: ebpf.SkStorage, Flags: unix.BPF_F_NO_PREALLOC,
		KeySize: 4, Key: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
		ValueSize: 8, Value: &btf.Int{Name: "u64", Size: 8},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = changes.Close() })
	const createStorage = 1 // BPF_SK_STORAGE_GET_F_CREATE of linux/bpf.h
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "watch_state", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state", License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord), // the tracepoint's first argument: the socket
			asm.LoadMapPtr(asm.R1, changes.FD()),
			asm.Mov.Imm(asm.R3, 0),
			asm.Mov.Imm(asm.R4, createStorage),
			asm.FnSkStorageGet.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = program.Close() })
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, attached.Close()) })
	return changes
}

func TestOthersAtTheTracepointSeeAllAndSoDoWe(t *testing.T) {
	testhost.RequireRoot(t)
	changes := stateWatcher(t)
	first, second := open(t, Options{}), open(t, Options{})
	sleep, httpbin := hosts(t)
	client, server := pair(t, sleep, listen(t, httpbin, "10.244.0.11:80"))
	sendAndRead(t, client, server, 100)
	sendAndRead(t, server, client, 10)

	raw, err := client.SyscallConn()
	require.NoError(t, err)
	var count uint64
	require.NoError(t, raw.Control(func(fd uintptr) { err = changes.Lookup(uint32(fd), &count) }))
	require.NoError(t, err)
	assert.Equal(t, uint64(2), count, "SYN_SENT and ESTABLISHED")

	source := client.LocalAddr().(*net.TCPAddr).AddrPort()
	exchange(t, client, server, 1, 1)
	var reported [2][2]Record
	for i, p := range []*Probe{first, second} {
		records := readUntil(t, p, func(r *Record) bool { return AddrPort(&r.Source) == source }, atLeast(2))
		require.Len(t, records, 2)
		reported[i] = [2]Record{
			end(t, records, uint32(Outbound), uint32(KindClosed)),
			end(t, records, uint32(Inbound), uint32(KindClosed)),
		}
		assert.Equal(t, [2]uint64{101, 11}, [2]uint64{reported[i][0].Total.Sent, reported[i][0].Total.Received})
		assert.Equal(t, [2]uint64{11, 101}, [2]uint64{reported[i][1].Total.Sent, reported[i][1].Total.Received})
	}
	for end := range reported[0] {
		const cookie = 1<<40 - 1
		assert.Equal(t, reported[0][end].Id&cookie, reported[1][end].Id&cookie, "above it is when each saw the connection begin")
		assert.Equal(t, reported[0][end].Delta, reported[1][end].Delta)
		assert.Equal(t, reported[0][end].Original, reported[1][end].Original)
	}
}
