// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// lines are the events that a selector passed on.
type lines []entry

type entry struct {
	event      Event
	at         time.Time
	flow       flow.Flow
	connection flow.Connection
}

// selecting returns a selector that passes on to the lines.
func (l *lines) selecting(settings Settings) *selector {
	return &selector{Settings: settings, write: func(event Event, at time.Time, f *flow.Flow) {
		*l = append(*l, entry{event, at, *f, *f.Connection})
	}}
}

func (l lines) events() (all []string) {
	for _, entry := range l {
		all = append(all, entry.event.String())
	}
	return all
}

func TestLogHoldsTheEventsThatAreWanted(t *testing.T) {
	for name, tt := range map[string]struct {
		want   Settings
		events []string
	}{
		"default":  {Settings{Closed: true, Failed: true}, []string{"closed", "failed"}},
		"closed":   {Settings{Closed: true}, []string{"closed"}},
		"failed":   {Settings{Failed: true}, []string{"failed"}},
		"opened":   {Settings{Opened: true}, []string{"opened", "opened"}},
		"periodic": {Settings{Periodic: true}, []string{"periodic"}},
		"all": {
			Settings{Closed: true, Failed: true, Opened: true, Periodic: true},
			[]string{"opened", "closed", "failed", "opened", "periodic"},
		},
		"none": {Settings{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			selector := log.selecting(tt.want)
			selector.add(named(sample()))
			selector.add(named(failedSample()))
			selector.add(named(openSample()))
			require.Equal(t, tt.events, log.events())
		})
	}
}

func TestOpenedIsLoggedAsOfTheStartEvenByTheClose(t *testing.T) {
	var log lines
	selector := log.selecting(Settings{Opened: true, Closed: true})
	c := sample()
	c.Local = identity.Process{PID: 42, Name: "gunicorn", Cgroup: 9}
	selector.add(named(c))
	require.Equal(t, []string{"opened", "closed"}, log.events())
	opened, closed := log[0], log[1]
	require.Equal(t, c.Start, opened.at)
	require.Equal(t, flow.Connection{
		ID: 0x1001, Event: flow.EventOpen, Direction: flow.Inbound, Source: c.Source, Destination: productpageAddr, Local: c.Local,
		Start: c.Start, At: c.Start, Opened: true, State: flow.StateEstablished,
	}, opened.connection)
	require.Same(t, productpagePod, opened.flow.Destination)
	require.Equal(t, noon, closed.at)
	require.Equal(t, *c, closed.connection)
	for _, l := range log {
		require.Same(t, prometheusPod, l.flow.Source)
		require.Same(t, productpageService, l.flow.Service)
		require.Equal(t, noon.Add(50*time.Millisecond), l.flow.Observed)
	}
}

func TestAnEndOlderThanTheReceiverIsNotLoggedAsOpened(t *testing.T) {
	var log lines
	selector := log.selecting(Settings{Opened: true, Closed: true})
	c := sample()
	c.Opened, c.Delta[flow.Opened] = false, 0
	selector.add(named(c))
	require.Equal(t, []string{"closed"}, log.events())
}

func TestPeriodicIsLoggedOncePerPeriod(t *testing.T) {
	var log lines
	selector := log.selecting(Settings{Periodic: true, Period: 5 * time.Second})
	previous := time.Time{}
	var logged []time.Duration
	for _, age := range []time.Duration{2, 4, 6, 8, 9, 10, 11, 14, 31, 32} {
		c := openSample()
		c.Opened, c.Duration = false, age*time.Second
		c.Start, c.At, c.Previous = noon, noon.Add(age*time.Second), previous
		previous = c.At
		log = nil
		selector.add(named(c))
		if len(log) > 0 {
			require.Equal(t, c.At, log[0].at)
			logged = append(logged, age)
		}
	}
	require.Equal(t, []time.Duration{6, 10, 31}, logged)
}

func TestTotalsOfLostRecordsAreNoEvent(t *testing.T) {
	var log lines
	c := sample()
	c.ID, c.Event, c.Opened = 0, flow.EventRecovered, false
	log.selecting(Settings{Closed: true, Failed: true, Opened: true, Periodic: true}).add(named(c))
	require.Empty(t, log)
}
