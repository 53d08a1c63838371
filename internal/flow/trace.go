// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// Trace is what both ends of one TCP connection have in common. Each end knows both initial sequence
// numbers, which NAT leaves as they are, so two agents compute the same Trace without a message.
type Trace struct {
	ID     [16]byte
	Client [8]byte // span id of the end that connects
	Server [8]byte // span id of the end that accepts
}

// NewTrace returns the trace of the connection with these initial sequence numbers, those of the SYN
// segments themselves.
func NewTrace(client, server uint32) Trace {
	return traceOf(splitMix64(uint64(client)<<32 | uint64(server)))
}

// RandomTrace returns the trace of a connection of which only one end exists, as a failed one: from
// 64 random bits.
func RandomTrace(random uint64) Trace { return traceOf(splitMix64(random)) }

func traceOf(s splitMix64) (t Trace) {
	binary.BigEndian.PutUint64(t.ID[:8], s.next())
	binary.BigEndian.PutUint64(t.ID[8:], s.next())
	binary.BigEndian.PutUint64(t.Client[:], s.next())
	binary.BigEndian.PutUint64(t.Server[:], s.next())
	return t
}

// splitMix64 is the generator of that name by Steele, Lea and Flood (2014). Its output is a bijection
// of its state: two connections have the first half of their trace ids in common only when they have
// both sequence numbers in common.
type splitMix64 uint64

func (s *splitMix64) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
