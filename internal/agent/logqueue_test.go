// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// The queue's bound is in bytes: what it says that it holds must be what it takes, whatever the records have.
func TestTheMemoryOfTheLogQueueIsWhatItSays(t *testing.T) {
	long := newHostileWorld()
	name := strings.Repeat("n", 253) // what Kubernetes allows
	long.workload = &identity.Workload{Name: name, Names: identity.Names{Workload: name, Namespace: name[:63], Cluster: "c"}.Handle()}
	for name, change := range map[string]func(*flow.Connection){
		"closed": func(*flow.Connection) {},
		"failed": func(c *flow.Connection) { c.Event, c.ErrorType = flow.EventFailed, flow.ErrorConnectionRefused },
		"IPv6": func(c *flow.Connection) {
			c.Source = netip.MustParseAddrPort("[2001:db8:1:2:3:4:5:6]:65535")
			c.Destination = netip.MustParseAddrPort("[2001:db8:1:2:3:4:5:7]:65534")
		},
		"names as long as Kubernetes allows": func(c *flow.Connection) { c.Source = netip.AddrPortFrom(long.address, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			const limit = 4 << 20
			config := accesslog.NewDefaultConfig()
			config.QueueLimitMiB = limit >> 20
			queue := accesslog.NewSink(&config, sink.Settings{
				Resource: pcommon.NewResource(), Scope: pcommon.NewInstrumentationScope(), Status: func(error) {}, Logger: zap.NewNop(),
			}, consumertest.NewNop(), noReport{}) // never started: all that it gets waits
			n := naming.New(naming.Settings{Scope: naming.ScopeAll}, long, nil, queue)
			add := func(id uint64) {
				c := flowtest.Sample()
				c.ID = id
				change(c)
				n.Add(c, flowtest.Noon)
			}
			add(1)
			before, held := heap(), queue.Stats().Queue.QueuedBytes
			for id := uint64(2); queue.Stats().Queue.DroppedQueueFull == 0; id++ {
				add(id)
			}
			stats := queue.Stats().Queue
			took, says := heap()-before, stats.QueuedBytes-held
			require.LessOrEqual(t, stats.QueuedBytes, limit)
			require.InEpsilon(t, took, says, 0.25, fmt.Sprintf("%d records: %d bytes each, said to be %d", stats.Queued, took/stats.Queued, says/stats.Queued))
			t.Logf("%d records of %d bytes, said to be %d", stats.Queued, took/stats.Queued, says/stats.Queued)
			runtime.KeepAlive(queue)
		})
	}
}
