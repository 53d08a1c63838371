// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// seriesKey is a hash of a series' resource, metric and attributes. At 400,000 series the chance that two of them share
// a key is 4 in a billion. The hash has secrets of the process's own, so nobody can choose names that collide.
type seriesKey uint64

// hasher makes series keys. It hashes 16 bytes by one multiplication, as wyhash does: to copy the short texts of a point
// for a library's hash takes longer than all the rest.
type hasher struct{ first, second uint64 }

func newHasher() hasher {
	var secrets [16]byte
	_, _ = rand.Read(secrets[:]) // never fails
	return hasher{binary.LittleEndian.Uint64(secrets[:8]) | 1, binary.LittleEndian.Uint64(secrets[8:]) | 1}
}

// text adds a text to a hash.
func (h *hasher) text(state uint64, s string) uint64 {
	n := len(s)
	state = mix(state^h.first, uint64(n)^h.second)
	for ; len(s) > 16; s = s[16:] {
		state = mix(state^word(s)^h.first, word(s[8:])^h.second)
	}
	switch {
	case len(s) >= 8:
		return mix(state^word(s)^h.first, word(s[len(s)-8:])^h.second)
	case len(s) >= 4:
		return mix(state^half(s)^h.first, half(s[len(s)-4:])^h.second)
	case len(s) > 0:
		return mix(state^uint64(s[0])^h.first, (uint64(s[len(s)/2])<<8|uint64(s[len(s)-1]))^h.second)
	}
	return state
}

// attributes adds the keys' lengths and the values. The receiver's labels have a fixed order.
func (h *hasher) attributes(state uint64, attributes pcommon.Map) seriesKey {
	for key, value := range attributes.All() {
		if value.Type() == pcommon.ValueTypeStr {
			state = h.text(state+uint64(len(key)), value.Str())
		} else {
			state = h.text(state+uint64(len(key)), value.AsString())
		}
	}
	return seriesKey(state)
}

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func half(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}
