// SPDX-License-Identifier: Apache-2.0

package series

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

func TestSeriesRestartWhenTheClockWasSetBack(t *testing.T) {
	const sent, ofConnection = "kmesh.tcp.sent", "kmesh.tcp.connection.sent"
	a := newSubject(withZeros(), newWorld())
	long := openConnection(9, 1, time.Minute)
	long.Total = flow.Counters{flow.Opened: 1, flow.Sent: 100}
	long.Delta = long.Total
	a.Add(long, noon)
	a.Add(closedConnection(), noon)
	first := a.Snapshot(noon.Add(time.Second))
	a.Delivered(first.ID())

	// The clock is set back by an hour, and a snapshot was refused before.
	a.Add(closedConnection(), noon.Add(2*time.Second))
	a.Snapshot(noon.Add(3 * time.Second))
	back := noon.Add(-time.Hour)
	c := closedConnection()
	c.ID++
	a.Add(c, back)
	waits := a.Snapshot(back.Add(time.Second))
	require.Greater(t, waits.At, first.At, "what was refused is delivered first")
	a.Delivered(waits.ID())

	long.Total[flow.Sent], long.Delta, long.Opened = 107, flow.Counters{flow.Sent: 7}, false
	a.Add(long, back.Add(2*time.Second))
	snap := a.Snapshot(back.Add(3 * time.Second))
	require.Equal(t, []string{"0 at -59m57s", "7 at -59m56.999s", "0 at -59m57s", "0 at -59m56.999s"}, pointsOf(snap, sent))
	require.Equal(t, []string{"0 at -59m57s", "7 at -59m56.999s"}, pointsOf(snap, ofConnection))
	for _, p := range [][]Point{snap.Service.Live, snap.Connection.Live} {
		for _, point := range p {
			require.LessOrEqual(t, point.Start.AsTime(), back.Add(3*time.Second))
			require.Less(t, point.Start, snap.At)
		}
	}
	a.Delivered(snap.ID())
	next := a.Snapshot(back.Add(4 * time.Second))
	require.Equal(t, []string{"7 at -59m56s", "0 at -59m56s"}, pointsOf(next, sent))
}
