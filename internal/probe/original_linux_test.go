// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// Where struct bpf_sock_addr has what connect(2) was asked for, in the wire's order.
const userIP4, userPort = 4, 24

func wire(a netip.Addr) int32 {
	bytes := a.As4()
	return int32(binary.NativeEndian.Uint32(bytes[:]))
}

// attachConnect4 attaches a program to the hook of IPv4 connects of every process.
func attachConnect4(t *testing.T, instructions asm.Instructions) {
	t.Helper()
	testhost.RequireRoot(t)
	root, err := cgroupRoot("")
	require.NoError(t, err)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect, License: "GPL",
		Instructions: instructions,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = program.Close() })
	attached, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupInet4Connect, Program: program})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, attached.Close()) })
}

// balance attaches a socket load balancer: a connect to `from` goes to `to`, as those
// of Cilium and Kmesh do it.
func balance(t *testing.T, from, to netip.AddrPort) {
	t.Helper()
	port := func(n uint16) int32 { return int32(n>>8 | n<<8) }
	attachConnect4(t, asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, userIP4, asm.Word),
		asm.JNE.Imm32(asm.R2, wire(from.Addr()), "out"),
		asm.Mov.Imm32(asm.R2, wire(to.Addr())),
		asm.StoreMem(asm.R1, userIP4, asm.R2, asm.Word),
		asm.Mov.Imm32(asm.R2, port(to.Port())),
		asm.StoreMem(asm.R1, userPort, asm.R2, asm.Word),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("out"),
		asm.Return(),
	})
}

// mustPreorder returns whether this kernel has BPF_F_PREORDER for certain, and so can run us before
// programs that were attached earlier: Linux 6.15 was the first, some older ones got it later.
func mustPreorder(t *testing.T) bool {
	t.Helper()
	version, err := features.LinuxVersionCode()
	require.NoError(t, err)
	return version >= 6<<16|15<<8
}

func TestTheOriginalDestinationIsWhatTheApplicationAskedFor(t *testing.T) {
	for name, multipath := range map[string]bool{"TCP": false, "MPTCP": true} {
		t.Run(name, func(t *testing.T) { originalDestinationOf(t, multipath) })
	}
}

func originalDestinationOf(t *testing.T, multipath bool) {
	testhost.RequireRoot(t)
	service, pod := netip.MustParseAddrPort("10.96.5.5:8000"), netip.MustParseAddrPort("10.244.0.11:80")
	sleep, httpbin := hosts(t)
	listener := listen(t, httpbin, pod.String())
	balance(t, service, pod) // there before us, so that it would run before us
	p := open(t, Options{})

	var client net.Conn
	var err error
	dialer := net.Dialer{Timeout: within}
	dialer.SetMultipathTCP(multipath) // nothing else, where the kernel has none
	sleep.Do(func() { client, err = dialer.Dial("tcp", service.String()) })
	require.NoError(t, err)
	server, err := listener.AcceptTCP()
	require.NoError(t, err)
	exchange(t, client.(*net.TCPConn), server, 1, 1)

	records := readUntil(t, p, toPort(80), atLeast(2))
	outbound := end(t, records, uint32(Outbound), uint32(KindClosed))
	assert.Equal(t, pod, AddrPort(&outbound.Destination))
	if mustPreorder(t) {
		assert.True(t, p.FirstAtConnect())
	}
	want := service
	if !p.FirstAtConnect() {
		want = pod // what the program before us made of it
	}
	assert.Equal(t, want, AddrPort(&outbound.Original))
}
