// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

type world = flowtest.World

var (
	noon = flowtest.Noon

	sleepAddr, httpbinAddr   = flowtest.SleepAddr, flowtest.HTTPBinAddr
	serviceAddr, strangeAddr = flowtest.ServiceAddr, flowtest.StrangeAddr
	sleepPod, httpbinPod     = flowtest.SleepPod, flowtest.HTTPBinPod
	httpbinService           = flowtest.HTTPBinService

	newWorld         = flowtest.NewWorld
	closedConnection = flowtest.ClosedConnection
	openConnection   = flowtest.OpenConnection
)

// sink keeps what it gets.
type sink struct{ lines []line }

type line struct {
	flow       flow.Flow
	connection flow.Connection
	now        time.Time
}

func (s *sink) Add(f *flow.Flow, now time.Time) {
	s.lines = append(s.lines, line{*f, *f.Connection, now})
	s.lines[len(s.lines)-1].flow.Connection = nil // valid during the call only
}

// one returns the only flow.
func (s *sink) one(t *testing.T) line {
	t.Helper()
	require.Len(t, s.lines, 1)
	return s.lines[0]
}

func (s *sink) ids() (all []uint64) {
	for _, l := range s.lines {
		all = append(all, l.connection.ID)
	}
	return all
}

func (s *sink) events() (all []flow.Event) {
	for _, l := range s.lines {
		all = append(all, l.connection.Event)
	}
	return all
}

// counted sums what the flows count.
func (s *sink) counted() (sum flow.Counters) {
	for _, l := range s.lines {
		sum.Add(l.connection.Delta)
	}
	return sum
}

// networks are names for the outside.
func networks() *identity.Networks {
	n := new(identity.Networks)
	n.Add("corp", netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"))
	n.Add("docs", netip.MustParsePrefix("192.0.2.0/24"))
	return n
}

// to is a connection of sleep's.
func to(destination netip.AddrPort) *flow.Connection {
	c := closedConnection()
	c.Direction, c.Destination, c.Duration = flow.Outbound, destination, time.Minute
	return c
}
