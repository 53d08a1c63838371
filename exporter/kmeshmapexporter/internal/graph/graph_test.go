// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// steady sends n flushes of a series that grows by the same amount in each.
func (w *world) steady(n int, send func(round int, start time.Time)) {
	start := w.now
	for round := range n {
		w.now = w.now.Add(flush)
		send(round+1, start)
	}
}

func TestBothReportersAreOneEdge(t *testing.T) {
	w := newWorld(t, 100)
	w.steady(4, func(n int, start time.Time) {
		w.batch("node-a",
			count{"kmesh.tcp.sent", call("source"), int64(n) * 500, start, false},
			count{"kmesh.tcp.received", call("source"), int64(n) * 10_000, start, false},
			count{"kmesh.tcp.connections.opened", call("source"), int64(n) * 5, start, false})
		w.batch("node-b",
			count{"kmesh.tcp.sent", call("destination"), int64(n) * 10_000, start, false},
			count{"kmesh.tcp.received", call("destination"), int64(n) * 500, start, false},
			count{"kmesh.tcp.connections.opened", call("destination"), int64(n) * 5, start, false})
	})
	d := w.Draw()
	assert.Len(t, d.Nodes, 3, "sleep, the service and the workload httpbin")
	assert.Len(t, d.Links, 3)
	for _, l := range []Link{w.link("sleep", "httpbin", LinkCall), w.link("httpbin", "httpbin", LinkBackend), w.link("sleep", "httpbin", LinkPair)} {
		assert.InDelta(t, 100, l.Sent, 0.1)
		assert.InDelta(t, 2000, l.Received, 0.1)
		assert.InDelta(t, 1, l.Opened, 0.01)
		assert.Equal(t, "source", l.Reporter)
	}
}

func TestAnEdgeOfWhichOnlyTheDestinationReportsHasTheSameDirections(t *testing.T) {
	w := newWorld(t, 100)
	w.steady(3, func(n int, start time.Time) {
		w.batch("node-b",
			count{"kmesh.tcp.sent", call("destination"), int64(n) * 10_000, start, false},
			count{"kmesh.tcp.received", call("destination"), int64(n) * 500, start, false})
	})
	l := w.link("sleep", "httpbin", LinkPair)
	assert.Equal(t, "destination", l.Reporter)
	assert.InDelta(t, 100, l.Sent, 0.1)
	assert.InDelta(t, 2000, l.Received, 0.1)
	detail := w.Link(l.LinkID)
	require.NotNil(t, detail)
	assert.InDelta(t, 100, maximum(detail.Series.Sent), 1)
	assert.InDelta(t, 2000, maximum(detail.Series.Received), 20)
	server := w.Node(l.To)
	require.NotNil(t, server)
	assert.InDelta(t, 2000, maximum(server.Series.Sent), 20, "the server sends what the client receives")
}

func maximum(values []float64) (most float64) {
	for _, v := range values {
		most = max(most, v)
	}
	return most
}

// The client's agent knows the service only, as behind kube-proxy without connection tracking.
func TestAClientThatKnowsOnlyTheServiceIsNoSecondEdge(t *testing.T) {
	w := newWorld(t, 100)
	half := call("source", "destination_workload", "-", "destination_workload_namespace", "-", "destination_cluster", "-")
	w.steady(4, func(n int, start time.Time) {
		w.batch("node-a", count{"kmesh.tcp.sent", half, int64(n) * 500, start, false})
		w.batch("node-b", count{"kmesh.tcp.received", call("destination"), int64(n) * 500, start, false})
	})
	assert.InDelta(t, 100, w.link("sleep", "httpbin", LinkCall).Sent, 0.1)
	assert.InDelta(t, 100, w.link("httpbin", "httpbin", LinkBackend).Sent, 0.1)
	assert.InDelta(t, 100, w.link("sleep", "httpbin", LinkPair).Sent, 0.1, "without the pair of client and service")
	assert.Len(t, w.Draw().Nodes, 3)
}

func TestTheWorkloadSetIsNotCountedBesideTheServiceSet(t *testing.T) {
	w := newWorld(t, 100)
	w.steady(4, func(n int, start time.Time) {
		w.batch("node-a",
			count{"kmesh.tcp.sent", call("source"), int64(n) * 500, start, false},
			count{"kmesh.tcp.workload.sent", pod("source"), int64(n) * 500, start, false},
			count{"kmesh.tcp.retrans", pod("source"), int64(n) * 10, start, false})
	})
	l := w.link("sleep", "httpbin", LinkCall)
	assert.InDelta(t, 100, l.Sent, 0.1)
	assert.InDelta(t, 2, l.Retransmitted, 0.01)
	assert.Len(t, w.Draw().Links, 3)
}

func TestTheWorkloadSetAloneIsEnough(t *testing.T) {
	w := newWorld(t, 100)
	w.steady(4, func(n int, start time.Time) {
		w.batch("node-a", count{"kmesh.tcp.workload.sent", pod("source"), int64(n) * 500, start, false})
	})
	assert.InDelta(t, 100, w.link("sleep", "httpbin", LinkDirect).Sent, 0.1)
}

func TestWhatAPointAdds(t *testing.T) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type point struct {
		value int64
		start time.Time
		after time.Duration
	}
	for name, c := range map[string]struct {
		points []point
		total  float64
	}{
		"a new series counts from zero":           {[]point{{500, begin, flush}}, 500},
		"its zero comes first":                    {[]point{{0, begin.Add(flush), flush}, {500, begin.Add(flush), flush}}, 500},
		"an old series counts from what it had":   {[]point{{500, begin.Add(-time.Hour), flush}, {700, begin.Add(-time.Hour), flush}}, 200},
		"the same point again":                    {[]point{{500, begin, flush}, {500, begin, 0}}, 500},
		"a new start":                             {[]point{{500, begin, flush}, {300, begin.Add(flush), flush}}, 800},
		"a fall without a new start adds nothing": {[]point{{500, begin, flush}, {300, begin, flush}, {400, begin, flush}}, 600},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 100)
			for _, p := range c.points {
				w.now = w.now.Add(p.after)
				w.batch("node-a", count{"kmesh.tcp.sent", call("source"), p.value, p.start, false})
			}
			w.now = w.now.Add(2 * flush)
			detail := w.Link(w.link("sleep", "httpbin", LinkCall).LinkID)
			total := 0.0
			for _, v := range detail.Series.Sent {
				total += v * detail.Step
			}
			assert.InDelta(t, c.total, total, c.total/50)
		})
	}
}

func TestABurstIsSpreadOverTheIntervalInWhichItWasCounted(t *testing.T) {
	w := newWorld(t, 100)
	start := w.now
	w.now = w.now.Add(flush)
	w.batch("node-a", count{"kmesh.tcp.sent", call("source"), 1, start, false})
	w.now = w.now.Add(flush)
	// The series began a moment before the flush.
	w.batch("node-a", count{"kmesh.tcp.sent", call("source", "source_workload", "curl"), 5000, w.now.Add(-time.Millisecond), false})
	assert.InDelta(t, 1000, w.link("curl", "httpbin", LinkCall).Sent, 1)
}

func TestASilentEdgeIsIdleAndThenGone(t *testing.T) {
	w := newWorld(t, 100)
	start := w.now
	w.steady(2, func(n int, start time.Time) {
		w.batch("node-a", count{"kmesh.tcp.sent", call("source"), int64(n) * 500, start, false})
	})
	assert.False(t, w.link("sleep", "httpbin", LinkCall).Idle)
	silent := func(d time.Duration) {
		for end := w.now.Add(d); w.now.Before(end); {
			w.now = w.now.Add(flush)
			w.batch("node-a", count{"kmesh.tcp.sent", call("source"), 1000, start, false})
			w.Expire()
		}
	}
	silent(20 * time.Second)
	assert.True(t, w.link("sleep", "httpbin", LinkCall).Idle)
	silent(5 * time.Minute)
	assert.Empty(t, w.Draw().Nodes)
	assert.Empty(t, w.Draw().Links)
	assert.Equal(t, 1, w.Counts().Series, "its series still arrives")

	w.now = w.now.Add(flush)
	w.batch("node-a", count{"kmesh.tcp.sent", call("source"), 1500, start, false})
	assert.InDelta(t, 50, w.link("sleep", "httpbin", LinkCall).Sent, 0.1, "500 bytes over two flushes")
}

func TestAnAgentThatIsGoneLeavesNothing(t *testing.T) {
	w := newWorld(t, 100)
	w.steady(2, func(n int, start time.Time) {
		w.batch("node-a", count{"kmesh.tcp.sent", call("source"), int64(n) * 500, start, false}, count{"kmesh.tcp.retrans", pod("source"), int64(n), start, false})
	})
	w.record()
	w.now = w.now.Add(21 * time.Second)
	assert.Zero(t, w.link("sleep", "httpbin", LinkCall).Sent, "a rate needs points")
	w.now = w.now.Add(5 * time.Minute)
	w.Expire()
	counts := w.Counts()
	assert.Zero(t, counts.Series)
	assert.Zero(t, counts.Nodes)
	assert.Zero(t, counts.Edges)
	assert.Empty(t, w.edges)
	assert.Empty(t, w.hosts)
	assert.Empty(t, w.resources)
	assert.Zero(t, w.histories)
}

func TestAnEndedSeriesEnds(t *testing.T) {
	w := newWorld(t, 100)
	start := w.now
	w.now = w.now.Add(flush)
	w.batch("node-a", count{"kmesh.tcp.sent", call("source"), 500, start, false})
	w.now = w.now.Add(flush)
	w.batch("node-a", count{"kmesh.tcp.sent", call("source"), 0, start, true})
	assert.Zero(t, w.Counts().Series)
}

func TestUnknownEnds(t *testing.T) {
	w := newWorld(t, 100)
	outside := map[string]string{
		"reporter": "source", "source_workload": "sleep", "source_workload_namespace": "default", "source_cluster": "c1",
		"destination_service": "192.0.2.7", "destination_service_namespace": "-", "destination_service_name": "-",
		"destination_workload": "-", "destination_workload_namespace": "-", "destination_cluster": "-",
	}
	inside := call("destination", "source_workload", "-", "source_workload_namespace", "-", "source_cluster", "-")
	w.steady(2, func(n int, start time.Time) {
		w.batch("node-a", count{"kmesh.tcp.sent", outside, int64(n) * 500, start, false}, count{"kmesh.tcp.sent", inside, int64(n) * 500, start, false})
	})
	assert.InDelta(t, 100, w.link("sleep", "192.0.2.7", LinkDirect).Sent, 0.1)
	assert.InDelta(t, 100, w.link("", "httpbin", LinkPair).Received, 0.1)
	kinds := map[Kind]int{}
	for _, n := range w.Draw().Nodes {
		kinds[n.Kind]++
	}
	assert.Equal(t, map[Kind]int{KindWorkload: 2, KindService: 1, KindAddress: 1, KindUnknown: 1}, kinds)
}

func TestFailuresHaveTheirShareAndReason(t *testing.T) {
	w := newWorld(t, 100)
	w.record("event", "failed", "error.type", "connection_refused", "dst.workload", "-", "dst.namespace", "-")
	failures := call("source", "response_flags", "CONNECT", "destination_workload", "-", "destination_workload_namespace", "-", "destination_cluster", "-")
	w.steady(2, func(n int, start time.Time) {
		w.batch("node-a",
			count{"kmesh.tcp.connections.opened", call("source"), int64(n) * 15, start, false},
			count{"kmesh.tcp.conntections.failed", failures, int64(n) * 5, start, false})
	})
	l := w.link("sleep", "httpbin", LinkCall)
	assert.InDelta(t, 1, l.Failed, 0.01)
	assert.InDelta(t, 0.25, l.Share, 0.01)
	assert.Equal(t, "connection_refused", l.Reason, "from the record that arrived before the metrics")
	detail := w.Link(l.LinkID)
	assert.Equal(t, map[string]int{"connection_refused": 1}, detail.Reasons)
	require.Len(t, detail.Records, 1)
	assert.Equal(t, "sleep-5c5944c58c-v9mlk", detail.Records[0].SourcePod)

	w.now = w.now.Add(10 * time.Minute)
	w.Expire()
	assert.Empty(t, w.Draw().Links)
}

func TestRecordsAreBoundedAndTheNewestAreKept(t *testing.T) {
	w := newWorld(t, 4) // so at most 40 records
	w.steady(2, func(n int, start time.Time) {
		w.batch("node-a", count{"kmesh.tcp.sent", call("source"), int64(n) * 500, start, false},
			count{"kmesh.tcp.sent", call("source", "source_workload", "curl"), int64(n) * 500, start, false})
	})
	for range 50 {
		w.now = w.now.Add(time.Millisecond)
		w.record()
	}
	detail := w.Link(w.link("sleep", "httpbin", LinkCall).LinkID)
	require.Len(t, detail.Records, recordsPerEdge)
	assert.Equal(t, w.now.UTC(), detail.Records[0].At.UTC())
	for range 35 {
		w.record("src.workload", "curl-7")
	}
	assert.Len(t, w.Link(w.link("sleep", "httpbin", LinkCall).LinkID).Records, 5, "40 less the 35 of others")
	for range maxWaiting + 7 {
		w.record("src.workload", "nobody")
	}
	assert.Equal(t, uint64(7), w.Counts().Unmatched)
	w.now = w.now.Add(waitFor + time.Second)
	w.Expire()
	assert.Equal(t, uint64(maxWaiting+7), w.Counts().Unmatched)
}
