// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func connectionsOnly() Settings {
	return Settings{Scope: ScopeAll, ConnectionMetrics: true, ConnectionMinDuration: 5 * time.Second}
}

func TestConnectionSeriesHoldsTotalsSinceItsStart(t *testing.T) {
	a := New(connectionsOnly(), newWorld(), nil)
	a.Add(openConnection(3, 1, 6*time.Second), noon)
	a.Add(openConnection(3, 2, 6*time.Second), noon.Add(time.Second))
	p := one(t, a.Snapshot(noon.Add(2*time.Second)).Connection)
	require.Equal(t, Counters{Sent: 20}, p.Values)
	require.Equal(t, noon.Add(-6*time.Second), p.Start.AsTime())
}

func TestConnectionSeriesEndsWithTheConnection(t *testing.T) {
	a := New(connectionsOnly(), newWorld(), nil)
	a.Add(openConnection(7, 1, time.Minute), noon)
	a.Delivered(a.Snapshot(noon).ID)

	c := closedConnection()
	c.Duration, c.Total[Sent] = time.Minute, 1000
	a.Add(c, noon.Add(time.Second))
	refused := a.Snapshot(noon.Add(2 * time.Second))
	require.Equal(t, int64(1000), one(t, refused.Connection).Values[Sent])
	last := a.Snapshot(noon.Add(3 * time.Second))
	require.Equal(t, int64(1000), one(t, last.Connection).Values[Sent], "its last value was not delivered yet")
	a.Delivered(last.ID)

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
	a := New(connectionsOnly(), newWorld(), nil)
	a.Add(openConnection(7, 1, 2*time.Second), noon)
	require.Empty(t, a.Snapshot(noon.Add(time.Second)).Connection.Live)
	c := closedConnection()
	c.Duration = 4 * time.Second
	a.Add(c, noon.Add(2*time.Second))
	require.Zero(t, a.Stats().Connection.Series)
	require.True(t, a.Snapshot(noon.Add(time.Hour)).Empty())
}

func TestAConnectionThatRestsIsShownWhenItIsOldEnough(t *testing.T) {
	a := New(connectionsOnly(), newWorld(), nil)
	a.Add(openConnection(7, 1, 2*time.Second), noon)
	require.Empty(t, a.Snapshot(noon.Add(3*time.Second-1)).Connection.Live)
	require.Equal(t, int64(10), one(t, a.Snapshot(noon.Add(3*time.Second)).Connection).Values[Sent])
}

func TestALongConnectionThatOnlyTellsOfItsCloseHasASeries(t *testing.T) {
	a := New(connectionsOnly(), newWorld(), nil)
	c := closedConnection()
	c.Duration = 5 * time.Second
	a.Add(c, noon)
	snap := a.Snapshot(noon)
	require.Equal(t, Counters{Sent: 5, Received: 231, Retransmits: 3, Lost: 2}, one(t, snap.Connection).Values)
	a.Delivered(snap.ID)
	require.Len(t, a.Snapshot(noon).Connection.Ended, 1)
}

// It is told of as young, but its record is read when the series is there already.
func TestACloseThatIsReadLateEndsTheSeries(t *testing.T) {
	a := New(connectionsOnly(), newWorld(), nil)
	a.Add(openConnection(7, 1, 2*time.Second), noon)
	a.Delivered(a.Snapshot(noon.Add(4 * time.Second)).ID)
	c := closedConnection()
	c.Duration = 4900 * time.Millisecond
	a.Add(c, noon.Add(4*time.Second))
	last := a.Snapshot(noon.Add(5 * time.Second))
	require.Equal(t, int64(231), one(t, last.Connection).Values[Received])
	a.Delivered(last.ID)
	require.Len(t, a.Snapshot(noon.Add(6*time.Second)).Connection.Ended, 1)
}

func TestAConnectionWhoseCloseWasLostEndsWhenIdle(t *testing.T) {
	settings := connectionsOnly()
	settings.SeriesExpiration = time.Minute
	a := New(settings, newWorld(), nil)
	a.Add(openConnection(7, 1, time.Minute), noon)
	a.Delivered(a.Snapshot(noon).ID)
	require.Len(t, a.Snapshot(noon.Add(2*time.Minute)).Connection.Ended, 1)
}

func TestAnIdleConnectionReturnsWithItsTotals(t *testing.T) {
	settings := connectionsOnly()
	settings.SeriesExpiration = time.Minute
	a := New(settings, newWorld(), nil)
	a.Add(openConnection(7, 1, time.Minute), noon)
	a.Delivered(a.Snapshot(noon).ID)
	a.Snapshot(noon.Add(2 * time.Minute))
	a.Add(openConnection(7, 2, time.Minute), noon.Add(3*time.Minute))
	p := one(t, a.Snapshot(noon.Add(3*time.Minute)).Connection)
	require.Equal(t, int64(20), p.Values[Sent])
	require.Equal(t, noon.Add(-time.Minute), p.Start.AsTime())
}

func TestAStartInTheFutureIsNotBelieved(t *testing.T) {
	a := New(connectionsOnly(), newWorld(), nil)
	c := openConnection(7, 1, time.Minute)
	c.Start = noon.Add(time.Hour)
	a.Add(c, noon)
	snap := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, noon, one(t, snap.Connection).Start.AsTime())
}
