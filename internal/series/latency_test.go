// SPDX-License-Identifier: Apache-2.0

package series

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

func newLatency() *subject {
	a := newSubject(Settings{Enabled: enable(Latency), UnknownAddresses: 1 << 20, Expiration: time.Minute, InitialZero: true}, newWorld())
	a.began = noon
	return a
}

// written returns the metrics of a snapshot by name.
func written(s *Snapshot) map[string]pmetric.Metric {
	all := make(map[string]pmetric.Metric)
	for metrics := range s.Batches() {
		for _, m := range metrics.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			all[m.Name()] = m
		}
	}
	return all
}

func active(s *Snapshot) (all []int64) {
	m, found := written(s)["kmesh.tcp.connections.active"]
	if !found {
		return nil
	}
	for _, p := range m.Sum().DataPoints().All() {
		all = append(all, p.IntValue())
	}
	return all
}

// outbound is a whole life of a connection, whose SYN was answered after 3 ms.
func outbound(id uint64) *flow.Connection {
	c := to(httpbinAddr)
	c.ID, c.Duration, c.Connect = id, 2*time.Second, 3*time.Millisecond
	c.SRTT, c.Trace = 250*time.Microsecond, flow.NewTrace(1, uint32(id))
	c.Total[flow.Opened], c.Previous = 1, time.Time{}
	return c
}

func TestTheHistogramsOfAConnection(t *testing.T) {
	a := newLatency()
	a.Add(outbound(2), noon)
	failed := failedConnection()
	failed.SRTT = time.Second
	a.Add(failed, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Len(t, snap.Latency.Live, 1, "a failed connect is in none")
	for name, want := range map[string]float64{
		"kmesh.tcp.connect.duration": 0.003, "kmesh.tcp.connection.duration": 1.997, "kmesh.tcp.rtt": 0.00025,
	} {
		m := written(snap)[name]
		require.Equal(t, "s", m.Unit())
		require.Equal(t, pmetric.AggregationTemporalityCumulative, m.ExponentialHistogram().AggregationTemporality())
		points := m.ExponentialHistogram().DataPoints()
		require.Equal(t, 2, points.Len(), "a zero, and the first value")
		require.Zero(t, points.At(0).Count())
		p := points.At(1)
		require.Equal(t, uint64(1), p.Count())
		require.InDelta(t, want, p.Sum(), 1e-9)
		require.Equal(t, p.Sum(), p.Max())
		require.Equal(t, 23, p.Attributes().Len())
		require.Equal(t, 1, p.Exemplars().Len())
		e := p.Exemplars().At(0)
		trace := flow.NewTrace(1, 2)
		require.Equal(t, trace.ID, [16]byte(e.TraceID()))
		require.Equal(t, trace.Client, [8]byte(e.SpanID()))
		require.Equal(t, p.Sum(), e.DoubleValue())
	}
	require.Equal(t, []int64{0}, active(snap))
	a.Delivered(snap.ID())

	next := written(a.Snapshot(noon.Add(2 * time.Second)))["kmesh.tcp.rtt"].ExponentialHistogram().DataPoints()
	require.Equal(t, 1, next.Len())
	require.Equal(t, uint64(1), next.At(0).Count(), "cumulative")
	require.Zero(t, next.At(0).Exemplars().Len(), "none without a new value")
}

func TestQuantilesAreWithinTheHistogramsResolution(t *testing.T) {
	a := newLatency()
	random := rand.New(rand.NewPCG(1, 2))
	var rtts []float64
	for id := range uint64(10_000) {
		c := outbound(id + 1)
		c.SRTT = time.Duration(math.Exp(random.NormFloat64()) * float64(time.Millisecond))
		rtts = append(rtts, c.SRTT.Seconds())
		a.Add(c, noon)
	}
	slices.Sort(rtts)
	p := written(a.Snapshot(noon.Add(time.Second)))["kmesh.tcp.rtt"].ExponentialHistogram().DataPoints().At(1)
	require.Equal(t, uint64(10_000), p.Count())
	require.LessOrEqual(t, p.Positive().BucketCounts().Len(), 80)
	require.Equal(t, 1, p.Exemplars().Len())
	require.Equal(t, rtts[len(rtts)-1], p.Exemplars().At(0).DoubleValue(), "the slowest")
	base := math.Exp2(math.Exp2(-float64(p.Scale())))
	for _, q := range []float64{0.5, 0.9, 0.99} {
		want, seen := rtts[int(q*10_000)-1], uint64(0)
		for i, n := range p.Positive().BucketCounts().All() {
			if seen += n; float64(seen) >= q*10_000 {
				upper := math.Pow(base, float64(int(p.Positive().Offset())+i+1))
				require.GreaterOrEqual(t, upper, want*(1-1e-9))
				require.LessOrEqual(t, upper, want*base*(1+1e-9))
				break
			}
		}
	}
}

func TestActiveConnectionsAreExact(t *testing.T) {
	a := newLatency()
	for id := range uint64(10) { // open now
		a.Add(openConnection(id+1, 1, time.Second), noon)
	}
	older := func(id uint64, previous time.Time) *flow.Connection { // idle since the start, or before it
		c := openConnection(id, 1, time.Hour)
		c.Opened, c.Delta, c.Total, c.Previous = false, flow.Counters{}, flow.Counters{}, previous
		return c
	}
	a.Add(older(20, time.Time{}), noon)
	a.Add(older(21, noon.Add(-time.Second)), noon) // reported to the receiver before a reload
	snap := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, []int64{12}, active(snap))
	require.False(t, written(snap)["kmesh.tcp.connections.active"].Sum().IsMonotonic())
	a.Delivered(snap.ID())

	a.Add(older(20, noon), noon.Add(2*time.Second)) // again: not another one
	for _, id := range []uint64{1, 2, 20, 21} {
		c := openConnection(id, 1, time.Hour)
		c.Event, c.Opened, c.Previous = flow.EventClosed, false, noon
		c.Total, c.Delta = flow.Counters{}, flow.Counters{flow.Closed: 1}
		a.Add(c, noon.Add(2*time.Second))
	}
	same := openConnection(1, 1, 0)
	a.Add(&flow.Connection{ // after an overflow: one that was open closed, and two came and went
		Event: flow.EventRecovered, Direction: same.Direction, Source: same.Source, Destination: same.Destination, Start: noon, At: noon,
		Delta: flow.Counters{flow.Opened: 2, flow.Closed: 3},
	}, noon.Add(2*time.Second))
	snap = a.Snapshot(noon.Add(3 * time.Second))
	require.Equal(t, []int64{7}, active(snap))
	require.NotContains(t, written(snap), "kmesh.tcp.connection.duration", "nobody knows when the older ones began")
	a.Delivered(snap.ID())
	require.Empty(t, a.Snapshot(noon.Add(time.Hour)).Latency.Ended, "seven are open")
}

func TestActiveConnectionsAreExactPastTheLimit(t *testing.T) {
	a := newSubject(Settings{
		Enabled: enable(Latency), UnknownAddresses: 1 << 20, Expiration: time.Minute, CardinalityLimit: 4, InitialZero: true,
	}, newWorld())
	a.began = noon
	report := func(id uint64, event flow.Event, at time.Time) {
		c := openConnection(id, 1, time.Second)
		c.Destination, c.Original = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(id)}), 443), netip.AddrPort{}
		if c.Event = event; event == flow.EventClosed {
			c.Opened, c.Previous = false, noon
			c.Total, c.Delta = flow.Counters{}, flow.Counters{flow.Closed: 1}
		}
		a.Add(c, at)
	}
	at := noon
	snap := func() []int64 {
		at = at.Add(time.Second)
		s := a.Snapshot(at)
		a.Delivered(s.ID())
		all := active(s)
		slices.Sort(all)
		return all
	}
	for id := range uint64(10) {
		report(id+1, flow.EventOpen, at)
	}
	require.Equal(t, []int64{1, 1, 1, 7}, snap(), "three have a series of their own")
	for id := range uint64(3) {
		report(id+1, flow.EventClosed, at)
	}
	require.Equal(t, []int64{0, 0, 0, 7}, snap())
	at = at.Add(2 * time.Minute)
	snap() // the three end
	require.Equal(t, []int64{7}, snap(), "there is room")
	report(5, flow.EventClosed, at)
	report(6, flow.EventClosed, at)
	report(11, flow.EventOpen, at)
	require.Equal(t, []int64{0, 0, 1, 5}, snap(), "what closes was counted past the limit")
	for _, id := range []uint64{4, 7, 8, 9, 10, 11} {
		report(id, flow.EventClosed, at)
	}
	for _, n := range snap() {
		require.Zero(t, n)
	}
}

func TestTheLatencySetEnds(t *testing.T) {
	a := newLatency()
	a.Add(outbound(2), noon)
	a.Delivered(a.Snapshot(noon.Add(time.Second)).ID())
	snap := a.Snapshot(noon.Add(time.Hour))
	require.Len(t, snap.Latency.Ended, 1)
	all := written(snap)
	require.Len(t, all, 4)
	require.True(t, all["kmesh.tcp.rtt"].ExponentialHistogram().DataPoints().At(0).Flags().NoRecordedValue())
	require.True(t, all["kmesh.tcp.connections.active"].Sum().DataPoints().At(0).Flags().NoRecordedValue())
	a.Delivered(snap.ID())
	require.True(t, a.Snapshot(noon.Add(2*time.Hour)).Empty())
}

func TestAHistogramInASnapshotDoesNotChange(t *testing.T) {
	a := newLatency()
	a.Add(outbound(2), noon)
	snap := a.Snapshot(noon.Add(time.Second))
	a.Add(outbound(3), noon)
	require.Equal(t, uint64(1), written(snap)["kmesh.tcp.rtt"].ExponentialHistogram().DataPoints().At(1).Count())
}
