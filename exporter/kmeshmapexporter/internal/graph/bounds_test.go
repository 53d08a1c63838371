// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// crowd has workloads of two namespaces call httpbin.
func (w *world) crowd(large, small int, round int, start time.Time) {
	var counts []count
	for i := range large {
		counts = append(counts, count{"kmesh.tcp.sent", call("source", "source_workload", fmt.Sprint("large-", i), "source_workload_namespace", "large"), int64(round) * 500, start, false})
	}
	for i := range small {
		counts = append(counts, count{"kmesh.tcp.sent", call("source", "source_workload", fmt.Sprint("small-", i), "source_workload_namespace", "small"), int64(round) * 500, start, false})
	}
	w.batch("node-a", counts...)
}

func TestPastMaxNodesTheLargestNamespaceIsOneNode(t *testing.T) {
	w := newWorld(t, 20)
	w.steady(2, func(n int, start time.Time) { w.crowd(30, 5, n, start) })
	d := w.Draw()
	require.Len(t, d.Nodes, 1+5+2)
	require.Len(t, d.Folds, 1)
	assert.Equal(t, Fold{d.Folds[0].ID, "c1", "large", 30}, d.Folds[0])
	total := 0.0
	for _, l := range d.Links {
		if l.Kind == LinkCall {
			total += l.Sent
		}
	}
	assert.InDelta(t, 35*100, total, 20, "all traffic is drawn, be it as one")
	var fold Link
	for _, l := range d.Links {
		if l.From == d.Folds[0].ID && l.Kind == LinkCall {
			fold = l
		}
	}
	assert.InDelta(t, 30*100, fold.Sent, 20)
	require.NotNil(t, w.Link(fold.LinkID))
	require.NotNil(t, w.Node(d.Folds[0].ID))
}

func TestAFoldedNamespaceComesBackWhenThereIsRoom(t *testing.T) {
	w := newWorld(t, 20)
	w.steady(2, func(n int, start time.Time) { w.crowd(30, 5, n, start) })
	require.Len(t, w.Draw().Folds, 1)
	w.now = w.now.Add(10 * time.Minute)
	w.Expire()
	w.steady(2, func(n int, start time.Time) { w.crowd(9, 5, n, start) })
	assert.Len(t, w.Draw().Folds, 0)
	assert.Len(t, w.Draw().Nodes, 16)
}

func TestManyNamespacesAreBoundedToo(t *testing.T) {
	w := newWorld(t, 10)
	w.steady(2, func(n int, start time.Time) {
		var counts []count
		for i := range 50 {
			counts = append(counts, count{"kmesh.tcp.sent", call("source", "source_workload_namespace", fmt.Sprint("ns-", i)), int64(n) * 500, start, false})
		}
		w.batch("node-a", counts...)
	})
	assert.LessOrEqual(t, len(w.Draw().Nodes), 10)
}

func TestSeriesAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.steady(2, func(n int, start time.Time) { w.crowd(seriesPerNode+50, 0, n, start) })
	assert.Equal(t, seriesPerNode, w.Counts().Series)
	assert.Equal(t, uint64(100), w.Counts().Refused)
	assert.Equal(t, uint64(100), w.Draw().Refused, "the page says so")
	assert.LessOrEqual(t, w.histories, edgesPerNode)
	assert.NotEmpty(t, w.Draw().Links)
}

func TestOtherMetricsAreLeftOut(t *testing.T) {
	w := newWorld(t, 10)
	w.now = w.now.Add(flush)
	w.batch("node-a", count{"http.server.duration", call("source"), 1, w.now.Add(-flush), false})
	delta := pmetric.NewMetrics()
	m := delta.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("kmesh.tcp.sent")
	m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	m.Sum().DataPoints().AppendEmpty().SetIntValue(5)
	w.ConsumeMetrics(delta)
	assert.Equal(t, Counts{Other: 2}, w.Counts())
}

func FuzzNames(f *testing.F) {
	for _, name := range []string{"-", "", "<img src=x onerror=alert(1)>", "\xff\xfe", strings.Repeat("é", 300), "a-b-c", "\u202e", "\x00"} {
		f.Add(name, name)
	}
	f.Fuzz(func(t *testing.T, workload, service string) {
		w := newWorld(t, 10)
		labels := call("source", "source_workload", workload, "destination_service_name", service, "destination_service", service)
		w.steady(2, func(n int, start time.Time) {
			w.batch("node-a", count{"kmesh.tcp.sent", labels, int64(n), start, false})
			w.record("src.workload", workload, "dst.service", service, "error.type", service)
		})
		d := w.Draw()
		require.NotEmpty(t, d.Links)
		for _, n := range d.Nodes {
			require.True(t, utf8.ValidString(n.Name))
			require.LessOrEqual(t, len(n.Name), maxName)
		}
		for _, l := range d.Links {
			detail := w.Link(l.LinkID)
			require.NotNil(t, detail)
			_, err := json.Marshal(detail)
			require.NoError(t, err)
		}
	})
}
