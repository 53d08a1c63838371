// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// world is a graph with a clock of its own, and agents that flush every 5 s.
type world struct {
	*Graph
	t   testing.TB
	now time.Time
}

const flush = 5 * time.Second

func newWorld(t testing.TB, maxNodes int) *world {
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.Graph = New(Settings{Window: 5 * time.Minute, MaxNodes: maxNodes, Now: func() time.Time { return w.now }})
	return w
}

// count is a series and its value.
type count struct {
	metric string
	labels map[string]string
	value  int64
	start  time.Time
	stale  bool
}

// batch sends series as the agent of a node does, with one time for all.
func (w *world) batch(node string, counts ...count) {
	batch := pmetric.NewMetrics()
	of := batch.ResourceMetrics().AppendEmpty()
	of.Resource().Attributes().PutStr("service.instance.id", node)
	metrics := of.ScopeMetrics().AppendEmpty().Metrics()
	for _, c := range counts {
		m := metrics.AppendEmpty()
		m.SetName(c.metric)
		sum := m.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		p := sum.DataPoints().AppendEmpty()
		for _, key := range order {
			if value, ok := c.labels[key]; ok {
				p.Attributes().PutStr(key, value)
			}
		}
		p.SetStartTimestamp(pcommon.NewTimestampFromTime(c.start))
		p.SetTimestamp(pcommon.NewTimestampFromTime(w.now))
		p.SetIntValue(c.value)
		if c.stale {
			p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		}
	}
	w.ConsumeMetrics(batch)
}

var order = []string{
	"reporter", "source_workload", "source_workload_namespace", "source_cluster",
	"destination_service", "destination_service_namespace", "destination_service_name",
	"destination_pod_address", "destination_pod_namespace", "destination_pod_name",
	"destination_workload", "destination_workload_namespace", "destination_cluster", "response_flags",
}

// call labels a connection from sleep to httpbin by its service, both in the namespace default.
func call(reporter string, change ...string) map[string]string {
	return with(map[string]string{
		"reporter": reporter, "source_workload": "sleep", "source_workload_namespace": "default", "source_cluster": "c1",
		"destination_service": "httpbin.default.svc.cluster.local", "destination_service_namespace": "default",
		"destination_service_name": "httpbin", "destination_workload": "httpbin",
		"destination_workload_namespace": "default", "destination_cluster": "c1", "response_flags": "-",
	}, change...)
}

// pod labels the same in the workload set.
func pod(reporter string, change ...string) map[string]string {
	labels := call(reporter, "destination_pod_address", "10.0.0.1", "destination_pod_namespace", "default", "destination_pod_name", "httpbin-1")
	for _, key := range []string{"destination_service", "destination_service_namespace", "destination_service_name"} {
		delete(labels, key)
	}
	return with(labels, change...)
}

func with(labels map[string]string, change ...string) map[string]string {
	for i := 0; i < len(change); i += 2 {
		labels[change[i]] = change[i+1]
	}
	return labels
}

// link finds the one drawn link between the names.
func (w *world) link(from, to string, kind LinkKind) Link {
	w.t.Helper()
	links := w.drawnLinks(from, to, kind)
	require.Len(w.t, links, 1, "%s to %s, %s", from, to, kind)
	return links[0]
}

func (w *world) drawnLinks(from, to string, kind LinkKind) (found []Link) {
	d := w.Draw()
	names := make(map[uint32]string)
	for _, n := range d.Nodes {
		names[n.ID] = n.Name
	}
	for _, l := range d.Links {
		require.Contains(w.t, names, l.From)
		require.Contains(w.t, names, l.To)
		if names[l.From] == from && names[l.To] == to && l.Kind == kind {
			found = append(found, l)
		}
	}
	return found
}

// record sends an access log record.
func (w *world) record(attributes ...string) {
	batch := plog.NewLogs()
	r := batch.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(w.now))
	a := r.Attributes()
	for key, value := range map[string]string{
		"src.addr": "10.0.0.2:4000", "src.workload": "sleep-5c5944c58c-v9mlk", "src.namespace": "default", "src.cluster": "c1",
		"dst.addr": "10.0.0.1:80", "dst.service": "httpbin.default.svc.cluster.local", "dst.workload": "httpbin-7d9f-x2x2x",
		"dst.namespace": "default", "dst.cluster": "c1", "direction": "OUTBOUND", "event": "closed", "duration": "2.7ms",
	} {
		a.PutStr(key, value)
	}
	a.PutInt("sent_bytes", 231)
	a.PutInt("received_bytes", 4000)
	for i := 0; i < len(attributes); i += 2 {
		a.PutStr(attributes[i], attributes[i+1])
	}
	w.ConsumeLogs(batch)
}
