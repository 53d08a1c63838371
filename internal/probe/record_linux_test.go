// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// raw is a record as the kernel writes it.
func raw(t testing.TB, kind uint32) []byte {
	var buffer bytes.Buffer
	require.NoError(t, binary.Write(&buffer, binary.LittleEndian, Record{
		Id: 7, Kind: bpf.TCPRecordKind(kind), Direction: Inbound, Total: bpf.TCPCounters{Sent: 5 << 30},
	}))
	return buffer.Bytes()
}

func TestDecodeTakesWhatTheProgramsWrite(t *testing.T) {
	whole := raw(t, uint32(KindClosed))
	for _, sample := range [][]byte{whole, whole[:shortRecord]} {
		record := Record{Detail: Detail{SndCwnd: 9}} // what the one before had
		require.NoError(t, decode(sample, &record))
		assertDecoded(t, &record)
	}
}

func assertDecoded(t *testing.T, record *Record) {
	t.Helper()
	assert.Zero(t, record.Detail)
	assert.Equal(t, uint64(7), record.Id)
	assert.Equal(t, uint64(5<<30), record.Total.Sent)
}

func TestDecodeRefusesWhatTheyCannotHaveWritten(t *testing.T) {
	good := raw(t, uint32(KindOpen))
	assertRefused := func(sample []byte, message string) {
		t.Helper()
		assert.ErrorContains(t, decode(sample, new(Record)), message)
	}
	assertRefused(nil, "a record of 0 bytes")
	assertRefused(good[:len(good)-1], "a record of")
	assertRefused(append(bytes.Clone(good), 0), "a record of")
	assertRefused(raw(t, 0), "unknown kind 0")
	assertRefused(raw(t, 4), "unknown kind 4")
	direction := bytes.Clone(good)
	binary.LittleEndian.PutUint32(direction[unsafe.Offsetof(Record{}.Direction):], 9)
	assertRefused(direction, "unknown direction 9")
}

func FuzzDecode(f *testing.F) {
	f.Add(raw(f, uint32(KindClosed)))
	f.Add(raw(f, 77))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sample []byte) {
		var record Record
		if decode(sample, &record) != nil {
			return
		}
		assert.Contains(t, []int{shortRecord, recordSize}, len(sample))
		// Whatever an endpoint holds, it gives an address that prints.
		assert.NotEmpty(t, AddrPort(&record.Source).String())
	})
}

func TestAddrPortReadsTheWiresOrder(t *testing.T) {
	endpoint := func(address string, port uint16) *bpf.TCPEndpoint {
		var e bpf.TCPEndpoint
		bytes16 := netip.MustParseAddr(address).As16()
		for i := range e.Addr {
			e.Addr[i] = binary.NativeEndian.Uint32(bytes16[4*i:])
		}
		e.Port = binary.NativeEndian.Uint16([]byte{byte(port >> 8), byte(port)})
		return &e
	}
	for address, want := range map[string]string{
		"10.244.0.11":        "10.244.0.11:8000",
		"::ffff:10.244.0.11": "10.244.0.11:8000",
		"fd00::11":           "[fd00::11]:8000",
		"::1":                "[::1]:8000",
	} {
		assert.Equal(t, want, AddrPort(endpoint(address, 8000)).String())
	}
	assert.False(t, AddrPort(&bpf.TCPEndpoint{}).IsValid())
}

func BenchmarkDecode(b *testing.B) {
	sample := raw(b, uint32(KindClosed))
	var record Record
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(sample, &record); err != nil || record.Id != 7 {
			b.Fatal("a good record was refused")
		}
	}
}
