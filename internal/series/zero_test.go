// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// pointsOf has the points of a metric in a snapshot, as value and time after noon.
func pointsOf(s *Snapshot, name string) (all []string) {
	for metrics := range s.Batches() {
		for _, m := range metrics.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != name {
				continue
			}
			for _, p := range m.Sum().DataPoints().All() {
				at := fmt.Sprint(p.IntValue(), " at ", p.Timestamp().AsTime().Sub(noon))
				if p.Flags().NoRecordedValue() {
					at = "stale at " + p.Timestamp().AsTime().Sub(noon).String()
				}
				all = append(all, at)
			}
		}
	}
	return all
}

func withZeros() Settings {
	s := everything()
	s.InitialZero = true
	s.Expiration = time.Minute
	return s
}

func TestASeriesStartsAtZero(t *testing.T) {
	const sent = "kmesh.tcp.sent"
	a := newSubject(withZeros(), newWorld())
	a.Add(closedConnection(), noon)
	first := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, []string{"0 at 0s", "5 at 1s"}, pointsOf(first, sent))

	// The first one was refused, so nobody has the zero.
	second := a.Snapshot(noon.Add(2 * time.Second))
	require.Equal(t, []string{"0 at 0s", "5 at 2s"}, pointsOf(second, sent))
	a.Delivered(second.ID())
	third := a.Snapshot(noon.Add(3 * time.Second))
	require.Equal(t, []string{"5 at 3s"}, pointsOf(third, sent))
	a.Delivered(third.ID())

	// It ends, and starts again.
	ended := a.Snapshot(noon.Add(2 * time.Minute))
	require.Equal(t, []string{"stale at 2m0s"}, pointsOf(ended, sent))
	a.Delivered(ended.ID())
	again := closedConnection()
	again.ID++
	a.Add(again, noon.Add(3*time.Minute))
	require.Equal(t, []string{"0 at 3m0s", "5 at 3m1s"}, pointsOf(a.Snapshot(noon.Add(3*time.Minute+time.Second)), sent))
}

// Retransmitted SYNs are a metric that a series of failed connects has only once it counts something.
func TestAMetricThatComesLaterStartsAtZeroToo(t *testing.T) {
	const retransmits = "kmesh.tcp.retrans"
	a := newSubject(withZeros(), newWorld())
	without := failedConnection()
	without.Delta[flow.Retransmits] = 0
	a.Add(without, noon)
	first := a.Snapshot(noon.Add(time.Second))
	require.Empty(t, pointsOf(first, retransmits))
	a.Delivered(first.ID())
	with := failedConnection()
	with.ID++
	a.Add(with, noon.Add(2*time.Second))
	require.Equal(t, []string{"0 at 1s", "4 at 3s"}, pointsOf(a.Snapshot(noon.Add(3*time.Second)), retransmits))
}

func TestTheZeroCanBeSwitchedOff(t *testing.T) {
	settings := withZeros()
	settings.InitialZero = false
	a := newSubject(settings, newWorld())
	a.Add(closedConnection(), noon)
	require.Equal(t, []string{"5 at 1s"}, pointsOf(a.Snapshot(noon.Add(time.Second)), "kmesh.tcp.sent"))
}

func TestASeriesWithAnOpenConnectionDoesNotExpire(t *testing.T) {
	a := newSubject(withZeros(), newWorld())
	a.Add(openConnection(7, 1, time.Second), noon)
	a.Delivered(a.Snapshot(noon.Add(time.Second)).ID())
	idle := a.Snapshot(noon.Add(time.Hour))
	require.Empty(t, idle.Service.Ended)
	require.Len(t, idle.Service.Live, 1)
	a.Delivered(idle.ID())

	closed := openConnection(7, 1, time.Hour)
	closed.Event, closed.Opened = flow.EventClosed, false
	closed.Delta = flow.Counters{flow.Closed: 1}
	a.Add(closed, noon.Add(2*time.Hour))
	last := a.Snapshot(noon.Add(2*time.Hour + time.Second))
	require.Equal(t, int64(1), last.Service.Live[0].Values[flow.Opened])
	require.Equal(t, int64(1), last.Service.Live[0].Values[flow.Closed])
	a.Delivered(last.ID())
	require.Len(t, a.Snapshot(noon.Add(3*time.Hour)).Service.Ended, 1, "nothing is open any more")
}
