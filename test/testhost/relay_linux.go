// SPDX-License-Identifier: Apache-2.0

package testhost

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// As istio-init and its proxy have them.
const (
	proxyUser     = 1337
	proxyOutbound = 15001
	proxyInbound  = 15006
	proxySource   = "127.0.0.6" // of its calls to its workload
)

// Sidecar starts a proxy in the host and the cgroup that takes all connections from and to the host, as Istio's does, until the
// test ends.
func (h *Host) Sidecar(cgroup string) {
	h.t.Helper()
	h.Run("nft", fmt.Sprintf(`table ip istio {
		chain pre { type nat hook prerouting priority -100; meta l4proto tcp redirect to :%d; }
		chain out { type nat hook output priority -100;
			oifname lo ip saddr %s return
			oifname lo ip daddr != 127.0.0.1 meta skuid %d meta l4proto tcp redirect to :%d
			oifname lo return
			meta skuid %d return
			ip daddr 127.0.0.1 return
			meta l4proto tcp redirect to :%d
		}
	}`, proxyInbound, proxySource, proxyUser, proxyInbound, proxyUser, proxyOutbound))
	h.talk(cgroup, "relay -")
}

// relay is the proxy.
func relay() error {
	if err := syscall.Setuid(proxyUser); err != nil {
		return err
	}
	outbound, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", proxyOutbound))
	if err != nil {
		return err
	}
	inbound, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", proxyInbound))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	failed := make(chan error, 2)
	go func() { failed <- relayAll(outbound, &net.Dialer{}) }()
	go func() {
		failed <- relayAll(inbound, &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(proxySource)}})
	}()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return <-failed
}

func relayAll(from net.Listener, to *net.Dialer) error {
	for {
		conn, err := from.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := relayOne(conn.(*net.TCPConn), to); err != nil {
				fmt.Fprintln(os.Stderr, "relay:", err)
			}
		}()
	}
}

func relayOne(client *net.TCPConn, to *net.Dialer) error {
	defer func() { _ = client.Close() }()
	target, err := originalDestination(client)
	if err != nil {
		return err
	}
	conn, err := to.Dial("tcp4", target.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(conn, client)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, conn)
	_ = client.CloseWrite()
	<-done
	return nil
}

// originalDestination is what SO_ORIGINAL_DST returns.
func originalDestination(conn *net.TCPConn) (netip.AddrPort, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var address unix.RawSockaddrInet4
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		length := uint32(unsafe.Sizeof(address))
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_IP, unix.SO_ORIGINAL_DST,
			uintptr(unsafe.Pointer(&address)), uintptr(unsafe.Pointer(&length)), 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&address.Port))[:])
	return netip.AddrPortFrom(netip.AddrFrom4(address.Addr), port), err
}
