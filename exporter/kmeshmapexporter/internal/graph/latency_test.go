// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// durations sends a cumulative histogram.
func (w *world) durations(metric string, start time.Time, count uint64, sum float64) {
	batch := pmetric.NewMetrics()
	of := batch.ResourceMetrics().AppendEmpty()
	of.Resource().Attributes().PutStr("service.instance.id", "node-a")
	m := of.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName(metric)
	m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	p := m.ExponentialHistogram().DataPoints().AppendEmpty()
	for _, key := range order {
		if value, ok := call("source")[key]; ok {
			p.Attributes().PutStr(key, value)
		}
	}
	p.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	p.SetTimestamp(pcommon.NewTimestampFromTime(w.now))
	p.SetCount(count)
	p.SetSum(sum)
	w.ConsumeMetrics(batch)
}

func TestLatencyIsTheMeanOfWhatCameInAStep(t *testing.T) {
	w := newWorld(t, 100)
	w.steady(6, func(n int, start time.Time) {
		w.batch("node-a", count{"kmesh.tcp.sent", call("source"), int64(n) * 500, start, false})
		w.durations("kmesh.tcp.connect.duration", start, uint64(n)*10, float64(n)*10*0.002)
		w.durations("kmesh.tcp.rtt", start, uint64(n)*4, float64(n)*4*0.0005)
	})
	detail := w.Link(w.link("sleep", "httpbin", LinkCall).LinkID)
	assert.InDelta(t, 0.002, last(t, detail.Series.Connect), 1e-5)
	assert.InDelta(t, 0.0005, last(t, detail.Series.RTT), 1e-5)
	assert.Nil(t, detail.Series.Connect[0], "a mean of nothing is no number")
}

func TestAnOldHistogramCountsFromWhatItHad(t *testing.T) {
	w := newWorld(t, 100)
	old := w.now.Add(-time.Hour)
	w.steady(4, func(n int, start time.Time) {
		w.batch("node-a", count{"kmesh.tcp.sent", call("source"), int64(n) * 500, start, false})
		w.durations("kmesh.tcp.rtt", old, uint64(1000+n), 9000+float64(n)*0.001)
	})
	assert.InDelta(t, 0.001, last(t, w.Link(w.link("sleep", "httpbin", LinkCall).LinkID).Series.RTT), 1e-5)
}

func TestOpenConnectionsAreALevel(t *testing.T) {
	w := newWorld(t, 100)
	for _, open := range []int64{7, 3} {
		w.now = w.now.Add(flush)
		w.batch("node-a", count{"kmesh.tcp.connections.active", call("source"), open, w.now.Add(-time.Hour), false})
	}
	assert.Equal(t, int64(3), w.link("sleep", "httpbin", LinkCall).Active)
}

func last(t *testing.T, values []*float64) float64 {
	t.Helper()
	for i := len(values) - 1; i >= 0; i-- {
		if values[i] != nil {
			return *values[i]
		}
	}
	require.Fail(t, "no value")
	return 0
}
