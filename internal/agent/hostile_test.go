// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unique"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

// hostileWorld has one workload and one service, with names of a megabyte that are no UTF-8.
type hostileWorld struct {
	flowtest.SampleWorld

	address  netip.Addr
	workload *identity.Workload
	service  *identity.Service
}

func newHostileWorld() *hostileWorld {
	long := strings.Repeat("\xffx\u20ac\n", 1<<20/6)
	return &hostileWorld{
		address: netip.MustParseAddr("10.244.0.66"),
		workload: &identity.Workload{Name: long + "pod", Names: unique.Make(identity.Names{
			Workload: long, CanonicalService: long + "c", CanonicalRevision: "\xc3", Namespace: long, Principal: long + "p", Cluster: long + "x",
		})},
		service: &identity.Service{Host: long + "host", Name: "\xff", Namespace: long + "n"},
	}
}

func (w *hostileWorld) Resolve(end identity.End, at time.Time) (*identity.Workload, bool) {
	if end.Address.Addr() == w.address {
		return w.workload, true
	}
	return w.SampleWorld.Resolve(end, at)
}

func (w *hostileWorld) Service(_, destination netip.AddrPort, _ *identity.Workload, _ time.Time) *identity.Service {
	if destination.Addr() == w.address {
		return w.service
	}
	return nil
}

// requireText checks every text of a map.
func requireText(t *testing.T, m pcommon.Map) {
	t.Helper()
	for key, value := range m.All() {
		if value.Type() != pcommon.ValueTypeStr {
			continue
		}
		if s := value.Str(); s == "" || len(s) > 1024 || !utf8.ValidString(s) {
			t.Fatalf("%s is %.40q…, of %d bytes", key, s, len(s))
		}
	}
}

func TestAHundredThousandStrangersAndHostileNamesAreBoundedInWhatIsEmitted(t *testing.T) {
	const peers, hostile = 100_000, 100
	var lines int
	var sent, received int64
	logs := accesslog.NewWriter(accesslog.Settings{Closed: true}, pcommon.NewResource(), pcommon.NewInstrumentationScope(), 1000, func(batch plog.Logs, _ int) {
		for _, record := range batch.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
			requireText(t, record.Attributes())
			require.True(t, utf8.ValidString(record.Body().Str()))
			require.LessOrEqual(t, len(record.Body().Str()), 8<<10)
			s, _ := record.Attributes().Get("sent_bytes")
			r, _ := record.Attributes().Get("received_bytes")
			sent, received, lines = sent+s.Int(), received+r.Int(), lines+1
		}
	})
	w := newHostileWorld()
	sets := series.New(series.Settings{Enabled: metricsOf(series.Service, series.Workload), Expiration: time.Minute},
		pcommon.NewResource(), pcommon.NewInstrumentationScope())
	n := naming.New(naming.Settings{Scope: naming.ScopeAll}, w, nil, sets, logs)
	stranger := func(i int) netip.AddrPort {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0xC6000000+uint32(i))
		return netip.AddrPortFrom(netip.AddrFrom4(b), 443)
	}
	for i := range peers {
		c := flowtest.Sample()
		c.ID, c.Direction, c.Destination = uint64(i+1), flow.Outbound, stranger(i)
		n.Add(c, flowtest.Noon)
	}
	for i := range hostile {
		c := flowtest.Sample()
		c.ID, c.Source, c.Destination = uint64(peers+i+1), stranger(i), netip.AddrPortFrom(w.address, 80)
		n.Add(c, flowtest.Noon)
	}
	logs.Flush(flowtest.Noon)

	points, total := 0, map[string]int64{}
	for metrics, n := range sets.Snapshot(flowtest.Noon.Add(5 * time.Second)).Batches() {
		points += n
		eachPoint(metrics, func(name string, p pmetric.NumberDataPoint) {
			requireText(t, p.Attributes())
			total[name] += p.IntValue()
		})
	}
	require.LessOrEqual(t, points, (4+6)*(1000+2), "a thousand addresses, the others, and one with hostile names")
	require.Equal(t, peers+hostile, lines)
	require.Equal(t, int64(peers+hostile), total["kmesh.tcp.connections.closed"])
	require.Equal(t, int64(peers+hostile), total["kmesh.tcp.workload.connections.closed"])
	for _, set := range []string{"kmesh.tcp.", "kmesh.tcp.workload."} {
		require.Equal(t, sent, total[set+"sent"])
		require.Equal(t, received, total[set+"received"])
	}
	require.Equal(t, 500, sets.Stats().UnknownAddresses, "no more for one workload")
	require.Equal(t, uint64(peers-500), sets.Stats().UnknownAddressesRefused)
}
