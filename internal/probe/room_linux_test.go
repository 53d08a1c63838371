// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// The figures of docs/limits.md: 16 bytes from the start for each entry that there is room for, and the memory of an
// entry while it is there.
func TestTheMemoryOfTheConnectionMapsIsAsDocumented(t *testing.T) {
	small, large := open(t, Options{}), open(t, Options{MaxConnections: 1 << 20})
	const more = 1<<20 - 1<<18
	empty := memoryOfConnections(t, large)
	if empty > 64<<20 {
		t.Skip("this kernel counts entries that are not there: Linux before 6.4")
	}
	assert.InDelta(t, 16*more, empty-memoryOfConnections(t, small), more/2)

	host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
	listener := listen(t, host, "10.244.0.11:80")
	const connections = 200
	for range connections {
		pair(t, host, listener)
	}
	entries := entriesOfConnections(t, large)
	require.GreaterOrEqual(t, entries, uint64(2*connections))
	each := (memoryOfConnections(t, large) - empty) / float64(entries)
	assert.Greater(t, each, 192.0, "or the allocator's next smaller size would do")
	assert.LessOrEqual(t, each, 256.0)
	t.Log(strconv.FormatFloat(each, 'f', 1, 64), "bytes per entry")
}

func memoryOfConnections(t *testing.T, p *Probe) float64 {
	t.Helper()
	for _, m := range p.maps() {
		if m.Name == "connections" {
			return float64(m.Bytes)
		}
	}
	t.Fatal("the map is not reported")
	return 0
}
