// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadatatest"
)

// observation has another number in every place.
var observation = &agent.Observation{
	Earlier: agent.Audit{Exported: flow.Counters{flow.Opened: 100}, Excluded: flow.Counters{flow.Failed: 200}},
	Naming: naming.Stats{
		Waiting: 1, UnknownSource: 2, UnknownDestination: 3, OutOfScopeRecords: 4, Impostors: 45,
		SettleExpired: 43, SettleRefused: 44,
		OutOfScope: flow.Counters{flow.Opened: 5, flow.Closed: 6, flow.Failed: 7},
	},
	Series: sink.Series{
		UnknownAddresses: 39, UnknownAddressesRefused: 40,
		Exported:   flow.Counters{flow.Opened: 8, flow.Closed: 9, flow.Failed: 10},
		Service:    sink.Set{Series: 11, Refused: 12, Evicted: 21},
		Workload:   sink.Set{Series: 13, Refused: 14, Evicted: 22},
		Connection: sink.Set{Series: 15, Refused: 16, Evicted: 23},
		Istio:      sink.Set{Series: 17, Refused: 18, Evicted: 24},
		Latency:    sink.Set{Series: 25, Refused: 26, Evicted: 27},
		Labels:     []sink.LabelValues{{Set: "service", Label: "source_workload", Values: 64}, {Set: "istio", Label: "reporter", Values: 2}},
	},
	Queues: map[string]delivery.QueueStats{
		"log":  {Queued: 43, QueuedBytes: 44, DroppedQueueFull: 17, DroppedRefused: 18, DroppedShutdown: 19},
		"span": {DroppedQueueFull: 61, DroppedRefused: 62, DroppedShutdown: 63},
	},
	Probe: probe.Stats{
		Tally: probe.Tally{
			Opened: 1000, Closed: 300, Failed: 21, Found: 22, Lost: 23, Untracked: 24,
			Late: 43, Unseen: 44, Vanished: 45,
			SpillLost:       probe.Counters{Opened: 25, Sent: 26, Received: 27, Retransmits: 28, Lost: 29},
			SpillLostClosed: 30, SpillLostFailed: 31,
		},
		Counts:   probe.Counts{Read: 32, Malformed: 33, Spilled: 34},
		Maps:     []probe.MapUse{{Name: "ends", Bytes: 35, Entries: 135}, {Name: "opens", Bytes: 36, Entries: 136}, {Name: "connections", Bytes: 37, Entries: 137}},
		Programs: []probe.ProgramUse{{Name: "set_state", Loaded: true, Runs: 37, Time: 38 * time.Nanosecond}, {Name: "iterate_connections"}},
	},
	NAT: conntrack.Stats{Asked: 39 + 40 + 41, Missed: 40, Failed: 41, Refused: 42},
}

// fakeAgent shows an observation.
type fakeAgent struct{ observation *agent.Observation }

func (a fakeAgent) Observation() *agent.Observation { return a.observation }
func (fakeAgent) Held() identity.Held               { return identity.Held{Workloads: 2, Services: 1} }
func (fakeAgent) InSync() bool                      { return true }
func (fakeAgent) EventsBehind() int                 { return 3 }

func (fakeAgent) Demand() (identity.Demand, bool) {
	return identity.Demand{
		Known: 51, Unknown: 52, Asked: 53, Local: 54, Requests: 55, Repeats: 56, Released: 57, Refused: 58, Missed: 59,
	}, true
}

func newTestTelemetry(t *testing.T) *componenttest.Telemetry {
	t.Helper()
	to := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, to.Shutdown(context.Background())) })
	return to
}

type point = metricdata.DataPoint[int64]

// by returns a point for each value of a label.
func by(label string, values map[string]int64) (points []point) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		points = append(points, point{Value: values[name], Attributes: attribute.NewSet(attribute.String(label, name))})
	}
	return points
}

func TestSelfTelemetryShowsTheNewestObservation(t *testing.T) {
	to := newTestTelemetry(t)
	telemetry, err := newTelemetry(to.NewTelemetrySettings(), "file", fakeAgent{observation})
	require.NoError(t, err)
	t.Cleanup(telemetry.shutdown)

	kinds := func(opened, closed, failed int64) []point {
		return by("kind", map[string]int64{"opened": opened, "closed": closed, "failed": failed})
	}
	one := func(value int64) []point { return []point{{Value: value}} }
	fileSource := func(value int64) []point { return by("source", map[string]int64{"file": value}) }
	held := func(kind string, value int64) point {
		return point{Value: value, Attributes: attribute.NewSet(attribute.String("source", "file"), attribute.String("kind", kind))}
	}
	for _, instrument := range []struct {
		equal func(*testing.T, *componenttest.Telemetry, []point, ...metricdatatest.Option)
		want  []point
	}{
		{metadatatest.AssertEqualKmeshRecordsRead, one(32)},
		{metadatatest.AssertEqualKmeshRecordsLost, by("reason", map[string]int64{
			"ring_full": 23, "malformed": 33, "log_queue_full": 17, "log_refused": 18, "log_shutdown": 19,
			"span_queue_full": 61, "span_refused": 62, "span_shutdown": 63})},
		{metadatatest.AssertEqualKmeshTotalsRecovered, one(34)},
		{metadatatest.AssertEqualKmeshTotalsLost, by("kind", map[string]int64{
			"opened": 25, "closed": 30, "failed": 31, "sent": 26, "received": 27, "retransmits": 28, "lost": 29})},
		{metadatatest.AssertEqualKmeshConnectionsUntracked, one(24)},
		{metadatatest.AssertEqualKmeshConnectionsMissed, by("kind", map[string]int64{"late": 43, "unseen": 44, "vanished": 45})},
		{metadatatest.AssertEqualKmeshConnectionsTracked, one(137)},
		{metadatatest.AssertEqualKmeshConnectionsKernel, kinds(1000, 300, 21)},
		{metadatatest.AssertEqualKmeshConnectionsExported, kinds(108, 9, 10)},
		{metadatatest.AssertEqualKmeshConnectionsExcluded, kinds(5, 6, 207)},
		{metadatatest.AssertEqualKmeshSeries, by("set", map[string]int64{"service": 11, "workload": 13, "connection": 15, "istio": 17, "latency": 25})},
		{metadatatest.AssertEqualKmeshSeriesEvicted, by("set", map[string]int64{"service": 21, "workload": 22, "connection": 23, "istio": 24, "latency": 27})},
		{metadatatest.AssertEqualKmeshSeriesRefused, by("set", map[string]int64{"service": 12, "workload": 14, "connection": 16, "istio": 18, "latency": 26})},
		{metadatatest.AssertEqualKmeshLookupsUnknown, by("side", map[string]int64{"source": 2, "destination": 3})},
		{metadatatest.AssertEqualKmeshUnknownAddresses, one(39)},
		{metadatatest.AssertEqualKmeshUnknownAddressesRefused, one(40)},
		{metadatatest.AssertEqualKmeshTranslations, by("kind", map[string]int64{"answered": 39, "missed": 40, "failed": 41, "refused": 42})},
		{metadatatest.AssertEqualKmeshLogQueueRecords, one(43)},
		{metadatatest.AssertEqualKmeshLogQueueMemory, one(44)},
		{metadatatest.AssertEqualKmeshRecordsWaiting, one(1)},
		{metadatatest.AssertEqualKmeshSeriesLabelValues, []point{
			{Value: 64, Attributes: attribute.NewSet(attribute.String("set", "service"), attribute.String("label", "source_workload"))},
			{Value: 2, Attributes: attribute.NewSet(attribute.String("set", "istio"), attribute.String("label", "reporter"))},
		}},
		{metadatatest.AssertEqualKmeshRecordsUnnamed, by("reason", map[string]int64{"settle_expired": 43, "too_many_waiting": 44})},
		{metadatatest.AssertEqualKmeshRecordsImpostor, one(45)},
		{metadatatest.AssertEqualKmeshRecordsOutOfScope, one(4)},
		{metadatatest.AssertEqualKmeshBpfMapEntries, by("bpf_map", map[string]int64{"ends": 135, "opens": 136, "connections": 137})},
		{metadatatest.AssertEqualKmeshBpfMapMemory, by("bpf_map", map[string]int64{"ends": 35, "opens": 36, "connections": 37})},
		{metadatatest.AssertEqualKmeshBpfProgramRuns, by("bpf_program", map[string]int64{"set_state": 37, "iterate_connections": 0})},
		{metadatatest.AssertEqualKmeshBpfProgramTime, by("bpf_program", map[string]int64{"set_state": 38, "iterate_connections": 0})},
		{metadatatest.AssertEqualKmeshBpfProgramLoaded, by("bpf_program", map[string]int64{"set_state": 1, "iterate_connections": 0})},
		{metadatatest.AssertEqualKmeshIdentities, []point{held("workload", 2), held("service", 1)}},
		{metadatatest.AssertEqualKmeshIdentityInSync, fileSource(1)},
		{metadatatest.AssertEqualKmeshIdentityEventsBehind, fileSource(3)},
		{metadatatest.AssertEqualKmeshIdentityAddresses, []point{held("known", 51), held("unknown", 52), held("asked", 53), held("local", 54)}},
		{metadatatest.AssertEqualKmeshIdentityAddressRequests, []point{
			held("asked", 55), held("repeated", 56), held("released", 57), held("refused", 58), held("missed", 59)}},
	} {
		instrument.equal(t, to, instrument.want, metricdatatest.IgnoreTimestamp())
	}
}

func TestEveryInstrumentIsShownFromTheStart(t *testing.T) {
	to := newTestTelemetry(t)
	telemetry, err := newTelemetry(to.NewTelemetrySettings(), "host", fakeAgent{&agent.Observation{}})
	require.NoError(t, err)
	t.Cleanup(telemetry.shutdown)
	for name := range readMetadata(t).Telemetry.Metrics {
		switch name {
		case "kmesh_bpf_map_entries", "kmesh_bpf_map_memory", "kmesh_bpf_program_loaded", "kmesh_bpf_program_runs", "kmesh_bpf_program_time":
			continue // their names come with the first collection
		case "kmesh_series_label_values":
			continue // labels come with the first series
		}
		_, err := to.GetMetric("otelcol_" + name)
		assert.NoError(t, err)
	}
}
