// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sink keeps what it was told.
type sink struct{ lines []line }

type line struct {
	event      LogEvent
	at         time.Time
	flow       Flow
	connection Connection
}

func (s *sink) Log(event LogEvent, at time.Time, f *Flow) {
	s.lines = append(s.lines, line{event, at, *f, *f.Connection})
}

func (s *sink) events() (all []string) {
	for _, l := range s.lines {
		all = append(all, l.event.String())
	}
	return all
}

type discard struct{}

func (discard) Log(LogEvent, time.Time, *Flow) {}

func TestLogHoldsTheEventsThatAreWanted(t *testing.T) {
	for name, tt := range map[string]struct {
		want   LogSettings
		events []string
	}{
		"default":  {LogSettings{Closed: true, Failed: true}, []string{"closed", "failed"}},
		"closed":   {LogSettings{Closed: true}, []string{"closed"}},
		"failed":   {LogSettings{Failed: true}, []string{"failed"}},
		"opened":   {LogSettings{Opened: true}, []string{"opened", "opened"}},
		"periodic": {LogSettings{Periodic: true}, []string{"periodic"}},
		"all": {
			LogSettings{Closed: true, Failed: true, Opened: true, Periodic: true},
			[]string{"opened", "closed", "failed", "opened", "periodic"},
		},
		"none": {LogSettings{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			log := &sink{}
			a := New(Settings{Scope: ScopeAll, Log: tt.want}, newWorld(), log)
			a.Add(closedConnection(), noon)
			a.Add(failedConnection(), noon)
			a.Add(openConnection(3, 1, time.Minute), noon)
			require.Equal(t, tt.events, log.events())
		})
	}
}

func TestOpenedIsToldAsOfTheStartEvenByTheClose(t *testing.T) {
	log := &sink{}
	a := New(Settings{Scope: ScopeAll, Log: LogSettings{Opened: true, Closed: true}}, newWorld(), log)
	c := closedConnection()
	a.Add(c, noon.Add(time.Second))
	require.Equal(t, []string{"opened", "closed"}, log.events())
	opened, closed := log.lines[0], log.lines[1]
	require.Equal(t, c.Start, opened.at)
	require.Equal(t, Connection{
		ID: 7, Event: EventOpen, Direction: Inbound, Source: sleepAddr, Destination: httpbinAddr, Local: c.Local,
		Start: c.Start, At: c.Start, Opened: true, State: StateEstablished,
	}, opened.connection)
	require.Same(t, httpbinPod, opened.flow.Destination)
	require.Equal(t, noon, closed.at)
	require.Equal(t, *c, closed.connection)
	for _, l := range log.lines {
		require.Same(t, sleepPod, l.flow.Source)
		require.Same(t, httpbinService, l.flow.Service)
		require.Equal(t, noon.Add(time.Second), l.flow.Observed)
	}
}

func TestAnEndOlderThanTheReceiverIsNotToldAsOpened(t *testing.T) {
	log := &sink{}
	a := New(Settings{Scope: ScopeAll, Log: LogSettings{Opened: true, Closed: true}}, newWorld(), log)
	c := closedConnection()
	c.Opened, c.Delta[Opened] = false, 0
	a.Add(c, noon)
	require.Equal(t, []string{"closed"}, log.events())
}

func TestPeriodicIsToldOncePerPeriod(t *testing.T) {
	log := &sink{}
	a := New(Settings{Scope: ScopeAll, Log: LogSettings{Periodic: true, Period: 5 * time.Second}}, newWorld(), log)
	previous := time.Time{}
	var told []time.Duration
	for _, age := range []time.Duration{2, 4, 6, 8, 9, 10, 11, 14, 31, 32} {
		c := openConnection(3, 2, age*time.Second)
		c.Start, c.At, c.Previous = noon, noon.Add(age*time.Second), previous
		previous = c.At
		log.lines = nil
		a.Add(c, c.At)
		if len(log.lines) > 0 {
			require.Equal(t, c.At, log.lines[0].at)
			told = append(told, age)
		}
	}
	require.Equal(t, []time.Duration{6, 10, 31}, told)
}
