// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"hash/maphash"
	"net/netip"

	"github.com/elastic/go-freelru"
)

// maxAnswers bounds the cached answers. A new one evicts the least recently used.
const maxAnswers = 65_536

// seed makes collisions of hashes unpredictable.
var seed = maphash.MakeSeed()

// newAnswers returns a cache of the kernel's answers by the ID of the connection end. An invalid address is an answer too.
func newAnswers(capacity uint32) *freelru.LRU[uint64, netip.AddrPort] {
	cache, err := freelru.New[uint64, netip.AddrPort](capacity, func(end uint64) uint32 {
		return uint32(maphash.Comparable(seed, end))
	})
	if err != nil {
		panic(err) // the capacity is 0, or there is no hash function
	}
	return cache
}
