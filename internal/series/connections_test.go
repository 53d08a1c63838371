// SPDX-License-Identifier: Apache-2.0

package series

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

func connectionsOnly() Settings {
	return Settings{Enabled: enable(Connection), ConnectionMinDuration: 5 * time.Second}
}

func TestConnectionSeriesHoldsTotalsSinceItsStart(t *testing.T) {
	a := newSubject(connectionsOnly(), newWorld())
	a.Add(openConnection(3, 1, 6*time.Second), noon)
	a.Add(openConnection(3, 2, 6*time.Second), noon.Add(time.Second))
	p := one(t, a.Snapshot(noon.Add(2*time.Second)).Connection)
	require.Equal(t, flow.Counters{flow.Sent: 20}, p.Values)
	require.Equal(t, noon.Add(-6*time.Second), p.Start.AsTime())
}

func TestConnectionSeriesEndsWithTheConnection(t *testing.T) {
	a := newSubject(connectionsOnly(), newWorld())
	a.Add(openConnection(7, 1, time.Minute), noon)
	a.Delivered(a.Snapshot(noon).ID())

	c := closedConnection()
	c.Duration, c.Total[flow.Sent] = time.Minute, 1000
	a.Add(c, noon.Add(time.Second))
	refused := a.Snapshot(noon.Add(2 * time.Second))
	require.Equal(t, int64(1000), one(t, refused.Connection).Values[flow.Sent])
	last := a.Snapshot(noon.Add(3 * time.Second))
	require.Equal(t, int64(1000), one(t, last.Connection).Values[flow.Sent], "its last value was not delivered yet")
	a.Delivered(last.ID())

	for range 2 { // until its end was delivered too
		ended := a.Snapshot(noon.Add(4 * time.Second))
		require.Empty(t, ended.Connection.Live)
		require.Len(t, ended.Connection.Ended, 1)
	}
	a.Delivered(5)
	a.Snapshot(noon.Add(5 * time.Second))
	require.Zero(t, a.Stats().Connection.Series)
}

func TestAYoungConnectionIsNotShown(t *testing.T) {
	a := newSubject(connectionsOnly(), newWorld())
	a.Add(openConnection(7, 1, 2*time.Second), noon)
	require.Empty(t, a.Snapshot(noon.Add(time.Second)).Connection.Live)
	c := closedConnection()
	c.Duration = 4 * time.Second
	a.Add(c, noon.Add(2*time.Second))
	require.Zero(t, a.Stats().Connection.Series)
	require.True(t, a.Snapshot(noon.Add(time.Hour)).Empty())
}

func TestAConnectionThatRestsIsShownWhenItIsOldEnough(t *testing.T) {
	a := newSubject(connectionsOnly(), newWorld())
	a.Add(openConnection(7, 1, 2*time.Second), noon)
	require.Empty(t, a.Snapshot(noon.Add(3*time.Second-1)).Connection.Live)
	require.Equal(t, int64(10), one(t, a.Snapshot(noon.Add(3*time.Second)).Connection).Values[flow.Sent])
}

func TestALongConnectionThatOnlyReportsItsCloseHasASeries(t *testing.T) {
	a := newSubject(connectionsOnly(), newWorld())
	c := closedConnection()
	c.Duration = 5 * time.Second
	a.Add(c, noon)
	snap := a.Snapshot(noon)
	require.Equal(t, flow.Counters{flow.Sent: 5, flow.Received: 231, flow.Retransmits: 3, flow.Lost: 2}, one(t, snap.Connection).Values)
	a.Delivered(snap.ID())
	require.Len(t, a.Snapshot(noon).Connection.Ended, 1)
}

// It is reported as young, but its record is read when the series is there already.
func TestACloseThatIsReadLateEndsTheSeries(t *testing.T) {
	a := newSubject(connectionsOnly(), newWorld())
	a.Add(openConnection(7, 1, 2*time.Second), noon)
	a.Delivered(a.Snapshot(noon.Add(4 * time.Second)).ID())
	c := closedConnection()
	c.Duration = 4900 * time.Millisecond
	a.Add(c, noon.Add(4*time.Second))
	last := a.Snapshot(noon.Add(5 * time.Second))
	require.Equal(t, int64(231), one(t, last.Connection).Values[flow.Received])
	a.Delivered(last.ID())
	require.Len(t, a.Snapshot(noon.Add(6*time.Second)).Connection.Ended, 1)
}

func TestAConnectionWhoseCloseWasLostEndsWhenIdle(t *testing.T) {
	settings := connectionsOnly()
	settings.Expiration = time.Minute
	a := newSubject(settings, newWorld())
	a.Add(openConnection(7, 1, time.Minute), noon)
	a.Delivered(a.Snapshot(noon).ID())
	require.Len(t, a.Snapshot(noon.Add(2*time.Minute)).Connection.Ended, 1)
}

func TestAnIdleConnectionReturnsWithItsTotals(t *testing.T) {
	settings := connectionsOnly()
	settings.Expiration = time.Minute
	a := newSubject(settings, newWorld())
	a.Add(openConnection(7, 1, time.Minute), noon)
	a.Delivered(a.Snapshot(noon).ID())
	a.Snapshot(noon.Add(2 * time.Minute))
	a.Add(openConnection(7, 2, time.Minute), noon.Add(3*time.Minute))
	p := one(t, a.Snapshot(noon.Add(3*time.Minute)).Connection)
	require.Equal(t, int64(20), p.Values[flow.Sent])
	require.Equal(t, noon.Add(-time.Minute), p.Start.AsTime())
}

func TestAStartInTheFutureIsNotUsed(t *testing.T) {
	a := newSubject(connectionsOnly(), newWorld())
	c := openConnection(7, 1, time.Minute)
	c.Start = noon.Add(time.Hour)
	a.Add(c, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, noon, one(t, snap.Connection).Start.AsTime())
}
