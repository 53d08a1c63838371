// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// Record is one report of one connection end, as bpf/record.h lays it out.
type Record = bpf.TCPRecord

// The parts of a Record.
type (
	// Counters are totals, or differences, which are signed.
	Counters = bpf.TCPCounters
	// Detail is the rest of what the kernel's bpf_tcp_sock has.
	Detail = bpf.TCPDetail
	// Process is whose socket it is.
	Process = bpf.TCPProcess
	// Direction is which end it is.
	Direction = bpf.TCPDirection
	// State is the TCP state.
	State = bpf.TCPTcpState
)

// Spilled are the totals of connection ends that found the ring full.
type Spilled struct {
	Key    bpf.TCPSpillKey
	Totals bpf.TCPSpill
}

// The kinds of a Record, its directions, and the states that are distinguished.
const (
	KindOpen   = bpf.TCPRecordKindRECORD_OPEN
	KindClosed = bpf.TCPRecordKindRECORD_CLOSED
	KindFailed = bpf.TCPRecordKindRECORD_FAILED

	Outbound = bpf.TCPDirectionOUTBOUND
	Inbound  = bpf.TCPDirectionINBOUND

	FinWait2 = bpf.TCPTcpStateTCP_FIN_WAIT2
	TimeWait = bpf.TCPTcpStateTCP_TIME_WAIT
	LastACK  = bpf.TCPTcpStateTCP_LAST_ACK
	Closing  = bpf.TCPTcpStateTCP_CLOSING
)

// A record has its last part only where Options.Detail asked for it.
const (
	recordSize  = int(unsafe.Sizeof(Record{}))
	shortRecord = int(unsafe.Offsetof(Record{}.Detail))
)

// decode copies the record that raw holds. The ring hands over exactly what the program reserved,
// so any other length, and a kind or direction that no program writes, is an error.
func decode(raw []byte, record *Record) error {
	if len(raw) != shortRecord && len(raw) != recordSize {
		return fmt.Errorf("a record of %d bytes, expected %d or %d", len(raw), shortRecord, recordSize)
	}
	// #nosec G103 -- of a record's own size; both kinds of machine that we build for are little
	// endian as the kernel's side is.
	into := unsafe.Slice((*byte)(unsafe.Pointer(record)), recordSize)
	clear(into[copy(into, raw):])
	if record.Kind < KindOpen || record.Kind > KindFailed {
		return fmt.Errorf("a record of the unknown kind %d", record.Kind)
	}
	if record.Direction != Outbound && record.Direction != Inbound {
		return fmt.Errorf("a record of the unknown direction %d", record.Direction)
	}
	return nil
}

// AddrPort gives an endpoint's address, an IPv4-mapped one as IPv4. It is invalid
// where the endpoint is not known.
func AddrPort(endpoint *bpf.TCPEndpoint) netip.AddrPort {
	port := endpoint.Port>>8 | endpoint.Port<<8 // the wire's order
	var addr [16]byte
	for i, word := range endpoint.Addr {
		binary.NativeEndian.PutUint32(addr[4*i:], word)
	}
	if port == 0 && addr == [16]byte{} {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), port)
}
