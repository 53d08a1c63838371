// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
)

// hostAgent assembles an agent with the source host, whose probes kernel opens.
func hostAgent(t *testing.T, h *Handover, kernel *fakeProbe, change func(*configured), sink *consumertest.LogsSink) (*Agent, *consumertest.MetricsSink) {
	t.Helper()
	metrics := new(consumertest.MetricsSink)
	settings, _ := newSettings(metrics, sink)
	settings.Identity.Source = host.NewDefaultConfig()
	if change != nil {
		change(settings)
	}
	r, err := New(settings.complete(), WithProbe(kernel.open), WithHandover(h))
	require.NoError(t, err)
	return r, metrics
}

func TestTheNextAgentGoesOnWithTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, kernel, logs := new(Handover), &fakeProbe{}, new(consumertest.LogsSink)
		first, metrics := hostAgent(t, h, kernel, nil, logs)
		first.Start()
		kernel.give(closed(1), closed(2))
		after(readInterval)
		require.NoError(t, first.Stop(t.Context()))
		require.Equal(t, int64(2), sums(newest(t, metrics))["kmesh.tcp.connections.closed"])
		require.Zero(t, kernel.closed, "it is kept")

		kernel.give(closed(3)) // while nobody reads
		time.Sleep(keepTimeout - time.Second)
		never := &fakeProbe{}
		second, metrics := hostAgent(t, h, never, nil, logs)
		require.Empty(t, never.asked, "no other one was opened")
		second.Start()
		after(10*time.Second + readInterval)
		require.Len(t, records(logs), 3)
		require.Equal(t, int64(1), sums(newest(t, metrics))["kmesh.tcp.connections.closed"], "a series of its own")
		exported := second.Observation().Exported()
		require.Equal(t, int64(3), exported[flow.Closed], "the audit is that of the programs, which counted all three")
		require.NoError(t, second.Stop(t.Context()))
		require.NoError(t, h.Close())
		require.Equal(t, 1, kernel.closed)
	})
}

func TestAProbeIsNotKeptForOtherOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, kernel, logs := new(Handover), &fakeProbe{}, new(consumertest.LogsSink)
		first, _ := hostAgent(t, h, kernel, nil, logs)
		first.Start()
		require.NoError(t, first.Stop(t.Context()))
		other := &fakeProbe{}
		second, _ := hostAgent(t, h, other, func(s *configured) { s.IncludeLoopback = true }, logs)
		require.Equal(t, 1, kernel.closed, "before the other one opens: it has the lock")
		require.True(t, other.asked.IncludeLoopback)
		require.NoError(t, second.Close())
		require.Equal(t, 1, other.closed, "an agent that did not start keeps nothing")
	})
}

func TestAProbeThatNobodyTakesIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, kernel := new(Handover), &fakeProbe{}
		first, _ := hostAgent(t, h, kernel, nil, new(consumertest.LogsSink))
		first.Start()
		require.NoError(t, first.Stop(t.Context()))
		after(keepTimeout + time.Second)
		kernel.mu.Lock()
		defer kernel.mu.Unlock()
		require.Equal(t, 1, kernel.closed)
	})
}

func TestAProbeThatCannotBeReadIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, kernel := new(Handover), &fakeProbe{}
		first, _ := hostAgent(t, h, kernel, nil, new(consumertest.LogsSink))
		first.Start()
		kernel.fail(errors.New("bad file"))
		after(time.Second)
		require.Error(t, first.Stop(t.Context()))
		require.Equal(t, 1, kernel.closed)
	})
}

func TestWithoutAHandoverTheProbeIsClosed(t *testing.T) {
	settings, _ := newSettings(consumertest.NewNop(), nil)
	settings.Identity.Source = host.NewDefaultConfig()
	kernel := &fakeProbe{}
	r, err := New(settings.complete(), WithProbe(kernel.open))
	require.NoError(t, err)
	r.Start()
	require.NoError(t, r.Stop(t.Context()))
	require.Equal(t, 1, kernel.closed)
}

func TestOneSignalIsLostAndTheOtherGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, logs := new(consumertest.MetricsSink), new(consumertest.LogsSink)
		s := newSubject(t, nil, metrics, logs)
		s.Start()
		s.kernel.give(closed(1))
		after(readInterval)
		require.NoError(t, s.StopSignal(t.Context(), "metrics"))
		require.Equal(t, int64(1), sums(newest(t, metrics))["kmesh.tcp.connections.closed"], "its last metrics")
		flushes := len(metrics.AllMetrics())

		s.kernel.give(closed(2))
		after(resumeTimeout / 2)
		require.Len(t, records(logs), 1, "the other signals may stop, too: then it would count for one of them only")
		after(10 * time.Second)
		require.Len(t, records(logs), 2)
		require.Len(t, metrics.AllMetrics(), flushes)
		exported := s.Observation().Exported()
		require.Equal(t, int64(1), exported[flow.Closed])
		require.NoError(t, s.Stop(t.Context()))
		require.NoError(t, s.StopSignal(t.Context(), "metrics"), "too late")
	})
	synctest.Test(t, func(t *testing.T) {
		metrics, logs := new(consumertest.MetricsSink), new(consumertest.LogsSink)
		s := newSubject(t, func(s *configured) {
			s.accessLog.Events, s.accessLog.Period = []string{"periodic", "closed"}, time.Second
		}, metrics, logs)
		s.Start()
		s.kernel.give(closed(1))
		require.NoError(t, s.StopSignal(t.Context(), "logs"))
		require.Len(t, records(logs), 1)
		s.kernel.give(closed(2))
		after(10 * time.Second)
		require.Equal(t, int64(2), sums(newest(t, metrics))["kmesh.tcp.connections.closed"])
		require.Len(t, records(logs), 1)
		require.NotContains(t, s.kernel.swept(), true, "nobody needs idle connections any more")
		require.NoError(t, s.Stop(t.Context()))
	})
}

// The collector stops the signals one after the other.
func TestSignalsWhoseConsumersBlockShareTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		metrics, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error { <-release; return nil })
		require.NoError(t, err)
		logs, err := consumer.NewLogs(func(context.Context, plog.Logs) error { <-release; return nil })
		require.NoError(t, err)
		s := newSubject(t, nil, metrics, logs)
		s.Start()
		s.kernel.give(closed(1))
		after(6 * time.Second)
		begun := time.Now()
		require.NoError(t, s.StopSignal(context.Background(), "metrics"))
		require.NoError(t, s.Stop(context.Background()))
		require.LessOrEqual(t, time.Since(begun), drainTimeout+readInterval+handOverTimeout)
		require.Equal(t, 2, s.logged.Len())
		close(release)
	})
}

func TestAllSignalsStopWithTheSameRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, logs := new(consumertest.MetricsSink), new(consumertest.LogsSink)
		s := newSubject(t, nil, metrics, logs)
		s.Start()
		s.kernel.give(closed(1))
		require.NoError(t, s.StopSignal(t.Context(), "metrics"))
		s.kernel.give(closed(2))
		require.NoError(t, s.Stop(t.Context()))
		require.Len(t, records(logs), 1)
		require.Equal(t, int64(1), sums(newest(t, metrics))["kmesh.tcp.connections.closed"])
		assert.Len(t, s.kernel.ends, 1, "it stays in the ring for the next agent")
	})
}
