// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// askingSource is a source that asks for addresses when they are met.
type askingSource struct {
	*fakeSource
	mu   sync.Mutex
	held []netip.Addr
}

func (*askingSource) Answered(netip.Addr, time.Time) bool { return true }
func (*askingSource) Demand() identity.Demand             { return identity.Demand{Known: 2} }

func (s *askingSource) Hold(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = append(s.held, a)
}

func TestAddressesOfConnectionsThatRestAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings, _ := newSettings(new(consumertest.MetricsSink), nil)
		kernel, source := &fakeProbe{}, &askingSource{fakeSource: &fakeSource{}}
		a := settings.join(source, kernel, nil)
		rests, moves := closed(1), closed(2)
		rests.Kind, moves.Kind = probe.KindOpen, probe.KindOpen
		rests.Delta, rests.Original = probe.Counters{}, endpoint("10.96.5.5:80")
		kernel.mu.Lock()
		kernel.opens = []*probe.Record{rests, moves}
		kernel.mu.Unlock()
		require.NoError(t, a.hold(a.holdAt))
		require.Equal(t, []netip.Addr{sleepAddress, httpbinAddress, netip.MustParseAddr("10.96.5.5")}, source.held)
		kernel.mu.Lock()
		kernel.opens = nil
		kernel.mu.Unlock()
		a.Start()
		<-time.After(2 * time.Minute)
		require.NoError(t, a.Stop(t.Context()))
		rounds := 0
		for _, all := range kernel.swept() {
			if all {
				rounds++
			}
		}
		require.InDelta(t, 6, rounds, 1, "twice in the time for which the source holds an address, and the test's own")
		n, asks := a.Demand()
		require.True(t, asks)
		require.Equal(t, 2, n.Known)
		require.EqualValues(t, 1, a.Observation().Series.Exported[flow.Opened], "what moved counts")
	})
}

func TestASourceThatKnowsAllAddressesHoldsNone(t *testing.T) {
	a := newSubject(t, nil, new(consumertest.MetricsSink), nil)
	require.NoError(t, a.hold(time.Now()))
	require.Empty(t, a.kernel.swept())
	_, asks := a.Demand()
	require.False(t, asks)
}
