// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

// hide lets the first of the open ends end as the kernel shows to no program.
func (p *fakeProbe) hide() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = p.idle[1:]
	p.stats.Tally.Vanished++
}

func TestOpenConnectionsAreCountedAnewWhenTheKernelHidSome(t *testing.T) {
	for name, spoil := range map[string]func(*probe.Stats){
		"a record is lost":            func(s *probe.Stats) { s.Tally.Lost++ },
		"a walk leaves out open ends": func(s *probe.Stats) { s.Counts.Unfinished++ },
	} {
		t.Run(name, func(t *testing.T) { countsAnewUnless(t, spoil) })
	}
}

func countsAnewUnless(t *testing.T, spoil func(*probe.Stats)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		metrics := new(consumertest.MetricsSink)
		s := newSubject(t, func(s *configured) {
			s.series.Enabled = map[string]bool{"kmesh.tcp.connections.active": true}
			s.series.Enabled["kmesh.tcp.connections.opened"], s.series.Enabled["kmesh.tcp.connections.closed"] = true, true
		}, metrics, nil)
		active := func(want int64) {
			t.Helper()
			now := sums(newest(t, metrics))
			require.Equal(t, want, now["kmesh.tcp.connections.active"])
			require.Equal(t, int64(3), now["kmesh.tcp.connections.opened"])
			require.Zero(t, now["kmesh.tcp.connections.closed"])
		}
		const pause = recountPause * 5 * time.Second
		for id := range uint64(3) {
			first := open(id + 1)
			s.kernel.opens = append(s.kernel.opens, first)
			s.kernel.idle = append(s.kernel.idle, open(id+1))
		}
		s.Start()
		after(time.Minute)
		active(3)
		require.Equal(t, 1, count(s.kernel.swept(), true), "the first one: nothing was hidden")

		s.kernel.hide()
		after(time.Minute)
		active(2)
		require.Equal(t, recountCollections, count(s.kernel.swept(), true))

		s.kernel.hide()
		after(pause - time.Minute)
		active(2)
		require.Zero(t, count(s.kernel.swept(), true), "not again at once")
		after(time.Minute)
		active(1)

		after(pause)
		s.kernel.hide()
		after(8 * time.Second) // it is under way
		s.kernel.mu.Lock()
		spoil(&s.kernel.stats)
		s.kernel.mu.Unlock()
		after(time.Minute)
		active(1)
		after(pause)
		active(0)
		require.NoError(t, s.Stop(t.Context()))
	})
}

func TestWithoutMetricsNothingIsCountedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, change := range []func(*configured){
			func(s *configured) { s.metrics = nil },
			func(s *configured) { s.series.Enabled = nil },
		} {
			s := newSubject(t, change, consumertest.NewNop(), consumertest.NewNop())
			s.kernel.idle = []*probe.Record{open(1)}
			s.kernel.hide()
			s.Start()
			after(time.Minute)
			require.NotContains(t, s.kernel.swept(), true)
			require.NoError(t, s.Stop(t.Context()))
		}
	})
}

// A series would never expire otherwise.
func TestASeriesExpiresWhoseConnectionsTheKernelHid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubject(t, func(s *configured) {
			s.series.Enabled, s.series.Expiration = metricsOf(series.Service, series.Connection), time.Minute
		}, consumertest.NewNop(), nil)
		s.kernel.opens, s.kernel.idle = []*probe.Record{open(1)}, []*probe.Record{open(1)}
		s.Start()
		after(5 * time.Minute)
		held := func() [2]int {
			o := s.Observation().Series
			return [2]int{o.Service.Series, o.Connection.Series}
		}
		require.Equal(t, [2]int{1, 1}, held(), "it is open")
		s.kernel.hide()
		after(5 * time.Minute)
		require.Equal(t, [2]int{}, held())
		require.NoError(t, s.Stop(t.Context()))
	})
}

func count[T comparable](all []T, one T) (n int) {
	for _, each := range all {
		if each == one {
			n++
		}
	}
	return n
}
