// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

// hotPath is what a record goes through on its way to series that are known: a real index, and both sets.
func hotPath(t testing.TB) (*Agent, *probe.Record) {
	t.Helper()
	index := identity.NewIndex(time.Minute)
	always := time.Unix(0, 0)
	for address, w := range map[netip.Addr]*identity.Workload{sleepAddress: sleep, httpbinAddress: httpbin} {
		known := *w
		known.UID, known.Addresses = w.Name, []netip.Addr{address}
		known.Services = []identity.Membership{{Service: httpbinService.Key(), Ports: []identity.Port{{Service: 8000, Target: 80}}}}
		index.Upsert(&known, always, always)
	}
	index.UpsertService(httpbinService, always, always)
	sets := series.New(series.Settings{Enabled: metricsOf(series.Service, series.Workload)},
		pcommon.NewResource(), pcommon.NewInstrumentationScope())
	namer := naming.New(naming.Settings{Scope: naming.ScopeKnown}, index, nil, sets)
	r := &Agent{probe: &fakeProbe{}, namer: namer, decoder: newDecoder()}
	record := closed(1)
	r.add(record)
	require.Zero(t, namer.Stats().UnknownSource+namer.Stats().UnknownDestination, "both ends are known")
	require.Equal(t, 1, sets.Stats().Service.Series)
	require.Equal(t, 1, sets.Stats().Workload.Series)
	return r, record
}

// Allocations are stable where times are not: this is the check that the way stays free of them.
func TestFromRingToSeriesAllocatesNothing(t *testing.T) {
	r, record := hotPath(t)
	require.Zero(t, testing.AllocsPerRun(1000, func() { r.add(record) }))
}

func BenchmarkFromRingToSeries(b *testing.B) {
	r, record := hotPath(b)
	b.ReportAllocs()
	for b.Loop() {
		r.add(record)
	}
}

// BenchmarkBothEnds is a connection of which both ends are on this node.
func BenchmarkBothEnds(b *testing.B) {
	r, client := hotPath(b)
	client.ClientIsn, client.ServerIsn = 7, 8
	server := *client
	server.Id, server.Direction = 2, probe.Inbound
	b.ReportAllocs()
	for b.Loop() {
		r.add(client)
		r.add(&server)
	}
}
