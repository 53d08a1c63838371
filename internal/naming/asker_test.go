// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// asking is a world that asks for addresses when they are met.
type asking struct {
	*world
	answered map[netip.Addr]bool
}

func (w *asking) Answered(a netip.Addr, _ time.Time) bool { return w.answered[a] }
func (*asking) Hold(netip.Addr)                           {}
func (*asking) Demand() identity.Demand                   { return identity.Demand{} }

func TestAnOldConnectionWaitsForWhoIsAskedWhenItIsMet(t *testing.T) {
	w, out := unsettledWorld(), &sink{}
	n := New(settling(), w, nil, out)
	n.Add(openConnection(7, 1, time.Hour), noon)
	require.Zero(t, n.Stats().Waiting, "what knows all addresses is not behind an old connection")

	out = &sink{}
	n = New(settling(), &asking{world: w}, nil, out)
	n.Add(openConnection(7, 1, time.Hour), noon)
	require.Equal(t, 1, n.Stats().Waiting)
	w.Learn(httpbinAddr.Addr(), httpbinPod)
	n.Settle(noon.Add(time.Second))
	require.Zero(t, n.Stats().Waiting)
	require.Same(t, httpbinPod, out.one(t).flow.Destination)
}

func TestTheServiceThatWasAskedForIsWaitedFor(t *testing.T) {
	w, out := &asking{world: newWorld(), answered: make(map[netip.Addr]bool)}, &sink{}
	n := New(settling(), w, nil, out)
	n.Add(openConnection(7, 1, time.Second), noon)
	require.Zero(t, n.Stats().Waiting, "it asked for the pod's own address")
	c := openConnection(8, 1, time.Second)
	c.Original = serviceAddr
	n.Add(c, noon)
	require.Equal(t, 1, n.Stats().Waiting)
	w.answered[serviceAddr.Addr()] = true
	w.Learn(strangeAddr.Addr(), nil) // which changes the generation
	n.Settle(noon)
	require.Zero(t, n.Stats().Waiting)
	require.Len(t, out.lines, 2)
}
