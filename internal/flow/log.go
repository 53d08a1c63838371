// SPDX-License-Identifier: Apache-2.0

package flow

import "time"

// LogSink writes access log records.  f and what its Connection points to are valid during the call only; at is the
// event's own time.
type LogSink interface {
	Log(event LogEvent, at time.Time, f *Flow)
}

// writeLog hands f to the access log, as the events that it tells and that are wanted.
func (a *Aggregator) writeLog(f *Flow) {
	if a.log == nil {
		return
	}
	c, want := f.Connection, a.settings.Log
	// The first report may be the close already: the opening is told all the same, and first.
	if c.Opened && want.Opened {
		a.writeOpened(f)
	}
	switch c.Event {
	case EventOpen:
		if want.Periodic && periodPassed(c, want.Period) {
			a.log.Log(LogPeriodic, c.At, f)
		}
	case EventClosed:
		if want.Closed {
			a.log.Log(LogClosed, c.At, f)
		}
	case EventFailed:
		if want.Failed {
			a.log.Log(LogFailed, c.At, f)
		}
	case EventRecovered: // its records are lost, which the probe counts
	}
}

// writeOpened tells of the moment at which the connection opened, when nothing had been sent yet.
func (a *Aggregator) writeOpened(f *Flow) {
	c := f.Connection
	a.opened = Connection{
		ID: c.ID, Event: EventOpen, Direction: c.Direction,
		Source: c.Source, Destination: c.Destination, Original: c.Original, Local: c.Local,
		Start: c.Start, At: c.Start, Opened: true, State: StateEstablished,
	}
	f.Connection = &a.opened
	a.log.Log(LogOpened, c.Start, f)
	f.Connection = c
}

// periodPassed says whether a period, counted from the connection's start, ended since the report before this one.
// So no state is kept for it, and a report that comes often is logged once per period.
func periodPassed(c *Connection, period time.Duration) bool {
	if period <= 0 {
		return true
	}
	before := c.Previous
	if before.IsZero() {
		before = c.Start
	}
	return c.At.Sub(c.Start)/period > before.Sub(c.Start)/period
}
