// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/fields"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Settings select the events that become records, and what a record has.
type Settings struct {
	Closed, Failed, Opened, Periodic bool
	// Period is the least time between two periodic records of one end.
	Period time.Duration

	// Aggregate is how long the events of a flow are added up to one record, failures excepted; 0: each has its own record.
	Aggregate time.Duration

	NoBody  bool // the attributes only
	TCPInfo bool // the details of tcp_info too
}

func (s *Settings) use() fields.Use {
	if s.TCPInfo {
		return fields.Log | fields.TCPInfo
	}
	return fields.Log
}

// selector derives the events of a flow, and passes on those that are selected.
type selector struct {
	Settings

	// write gets the event's own time. The flow, and what its Connection points to, are valid during the call only.
	write  func(event fields.Event, at time.Time, f *flow.Flow)
	opened flow.Connection // of an opened event: a pointer to it costs no allocation
}

func (s *selector) add(f *flow.Flow) {
	c := f.Connection
	// The first report may be the close already: the opening is logged all the same, and first.
	if c.Opened && s.Opened {
		s.writeOpened(f)
	}
	switch c.Event {
	case flow.EventOpen:
		if s.Periodic && periodPassed(c, s.Period) {
			s.write(fields.Periodic, c.At, f)
		}
	case flow.EventClosed:
		if s.Closed {
			s.write(fields.Closed, c.At, f)
		}
	case flow.EventFailed:
		if s.Failed {
			s.write(fields.Failed, c.At, f)
		}
	case flow.EventRecovered: // its records are lost, which the probe counts
	}
}

// writeOpened reports the moment at which the connection opened, when nothing had been sent yet.
func (s *selector) writeOpened(f *flow.Flow) {
	c := f.Connection
	s.opened = flow.Connection{
		ID: c.ID, Event: flow.EventOpen, Direction: c.Direction,
		Source: c.Source, Destination: c.Destination, Original: c.Original, Local: c.Local,
		Start: c.Start, At: c.Start, Opened: true, State: flow.StateEstablished,
		ClientISN: c.ClientISN, ServerISN: c.ServerISN, Trace: c.Trace, Connect: c.Connect,
	}
	f.Connection = &s.opened
	s.write(fields.Opened, c.Start, f)
	f.Connection = c
}

// periodPassed returns whether a period, counted from the connection's start, ended since the report before this one.
// So no state is kept for it, and a report that comes often is logged once per period.
func periodPassed(c *flow.Connection, period time.Duration) bool {
	if period <= 0 {
		return true
	}
	before := c.Previous
	if before.IsZero() {
		before = c.Start
	}
	return c.At.Sub(c.Start)/period > before.Sub(c.Start)/period
}
