// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"github.com/elastic/go-freelru"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// How much is remembered. These bound memory, not what can be named: records repeat all of it.
const (
	maxProcesses = 16_384
	maxRemotes   = 16_384
	maxListeners = 4_096
	maxAddresses = 4_096
	// maxEnds is what arrives within some seconds at the highest rate: the other end's record is not far behind.
	maxEnds = 65_536
)

// newCache returns a least-recently-used cache. freelru's takes all its memory at once and none per entry: at thousands of
// connections a second, an allocation for each would be the largest cost of this package.
func newCache[K comparable, V any](capacity uint32, hash func(K) uint32) *freelru.LRU[K, V] {
	cache, err := freelru.New[K, V](capacity, hash)
	if err != nil {
		panic(err) // of a capacity of zero, or no hash function
	}
	return cache
}

// seed makes collisions unpredictable for a user who chooses names or ports.
var seed = maphash.MakeSeed()

func hashBytes(b []byte) uint32 { return uint32(maphash.Bytes(seed, b)) }

func hashAddr(a netip.Addr) uint32 {
	b := a.As16()
	return hashBytes(b[:])
}

func hashAddrPort(a netip.AddrPort) uint32 {
	var b [18]byte
	putAddrPort(b[:], a)
	return hashBytes(b[:])
}

func putAddrPort(b []byte, a netip.AddrPort) {
	if a.IsValid() { // As16 panics on nothing
		addr := a.Addr().As16()
		copy(b, addr[:])
	}
	binary.LittleEndian.PutUint16(b[16:], a.Port())
}

// route names one end of one connection: its own address first. In another network namespace a connection may have the same
// two addresses, but only a host that sees its packets knows its sequence numbers.
type route struct {
	own, peer netip.AddrPort
	sequence  uint64
}

func routeOf(end *identity.End) route { return route{end.Address, end.Peer, end.Sequence} }

func hashRoute(r route) uint32 {
	var b [44]byte
	putAddrPort(b[:18], r.own)
	putAddrPort(b[18:36], r.peer)
	binary.LittleEndian.PutUint64(b[36:], r.sequence)
	return hashBytes(b[:])
}

// listener is where a process listens.
type listener struct {
	at    netip.AddrPort
	netns uint32 // 0: whichever
}

func hashListener(l listener) uint32 { return hashAddrPort(l.at) ^ l.netns*0x9e3779b1 }

// pid alone is not enough: it is used again.
type processKey struct {
	pid  uint32
	name string // as the kernel has it
}

func hashProcess(p processKey) uint32 { return uint32(maphash.String(seed, p.name)) ^ p.pid*0x9e3779b1 }
