// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

var errNoStart = errors.New("CAP_BPF is missing")

// watchedHost keeps the status that the component reports.
type watchedHost struct {
	component.Host
	mu     sync.Mutex
	events []*componentstatus.Event
}

func newHost() *watchedHost { return &watchedHost{Host: newMdatagenNopHost()} }

// Report implements componentstatus.Reporter.
func (h *watchedHost) Report(event *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
}

// reported is the status, one line for each event.
func (h *watchedHost) reported() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for _, event := range h.events {
		line := event.Status().String()
		if err := event.Err(); err != nil {
			line += ": " + err.Error()
		}
		lines = append(lines, line)
	}
	return lines
}

// countingRunner counts how often it is made, started and stopped.
type countingRunner struct {
	made, started, stopped atomic.Int32
	mu                     sync.Mutex
	signalsStopped         []string // one by one
	startError, stopError  error
}

func (r *countingRunner) StopSignal(_ context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signalsStopped = append(r.signalsStopped, name)
	return nil
}

func (r *countingRunner) Start() { r.started.Add(1) }

func (r *countingRunner) Stop(context.Context) error {
	r.stopped.Add(1)
	return r.stopError
}

func (r *countingRunner) newAgent(*instance) (runner, error) {
	r.made.Add(1)
	if r.startError != nil {
		return nil, r.startError
	}
	return r, nil
}

func (r *countingRunner) counts() [3]int32 {
	return [3]int32{r.made.Load(), r.started.Load(), r.stopped.Load()}
}

// signals is a factory whose agents a test makes.
type signals struct {
	all     *instances
	factory receiver.Factory
}

func newSignals() *signals {
	all := newInstances()
	return &signals{all, newFactory(all)}
}

// both creates the two signals of one configuration as the collector does; r is what they run.
func (s *signals) both(t *testing.T, config *Config, r *countingRunner) (metrics, logs component.Component) {
	t.Helper()
	s.all.newAgent = r.newAgent
	settings := receivertest.NewNopSettings(metadata.Type)
	metrics, err := s.factory.CreateMetrics(t.Context(), settings, config, consumertest.NewNop())
	require.NoError(t, err)
	logs, err = s.factory.CreateLogs(t.Context(), settings, config, consumertest.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { assert.Empty(t, s.all.all, "nothing is left") })
	return metrics, logs
}

func TestTwoSignalsShareOneRun(t *testing.T) {
	r := &countingRunner{}
	metrics, logs := newSignals().both(t, createDefaultConfig().(*Config), r)
	var starting sync.WaitGroup
	for _, signal := range []component.Component{metrics, logs} {
		starting.Go(func() { assert.NoError(t, signal.Start(t.Context(), newHost())) })
	}
	starting.Wait()
	assert.Equal(t, [3]int32{1, 1, 0}, r.counts())

	var stopping sync.WaitGroup
	for _, signal := range []component.Component{metrics, logs} {
		stopping.Go(func() { assert.NoError(t, signal.Shutdown(t.Context())) })
	}
	stopping.Wait()
	assert.Equal(t, [3]int32{1, 1, 1}, r.counts())
}

func TestTracesShareTheRun(t *testing.T) {
	r, s, config := &countingRunner{}, newSignals(), createDefaultConfig().(*Config)
	metrics, logs := s.both(t, config, r)
	traces, err := s.factory.CreateTraces(t.Context(), receivertest.NewNopSettings(metadata.Type), config, consumertest.NewNop())
	require.NoError(t, err)
	for _, signal := range []component.Component{metrics, logs, traces} {
		require.NoError(t, signal.Start(t.Context(), newHost()))
	}
	assert.Equal(t, [3]int32{1, 1, 0}, r.counts())
	for _, signal := range []component.Component{traces, logs, metrics} {
		require.NoError(t, signal.Shutdown(t.Context()))
	}
	assert.Equal(t, []string{"traces", "logs"}, r.signalsStopped)
	assert.Equal(t, [3]int32{1, 1, 1}, r.counts())
}

// A partial reload shuts down the signal that the configuration no longer has.
func TestTheInstanceStopsWithItsLastSignal(t *testing.T) {
	for _, first := range []string{"metrics", "logs"} {
		r := &countingRunner{}
		metrics, logs := newSignals().both(t, createDefaultConfig().(*Config), r)
		hosts := map[string]*watchedHost{"metrics": newHost(), "logs": newHost()}
		require.NoError(t, metrics.Start(t.Context(), hosts["metrics"]))
		require.NoError(t, logs.Start(t.Context(), hosts["logs"]))
		one, other, name := metrics, logs, "logs"
		if first == "logs" {
			one, other, name = logs, metrics, "metrics"
		}
		for range 2 {
			require.NoError(t, one.Shutdown(t.Context()))
		}
		require.Equal(t, [3]int32{1, 1, 0}, r.counts(), "the other one goes on")
		require.Equal(t, []string{first}, r.signalsStopped)
		metrics.(*signal).status.set("reading", errNoStart)
		require.Empty(t, hosts[first].reported())
		require.NotEmpty(t, hosts[name].reported())
		require.NoError(t, one.Start(t.Context(), newHost()), "it was shut down")
		require.NoError(t, other.Shutdown(t.Context()))
		require.Equal(t, [3]int32{1, 1, 1}, r.counts())
	}
}

func TestTwoConfigurationsRunApart(t *testing.T) {
	first, second := &countingRunner{}, &countingRunner{}
	a, b := createDefaultConfig().(*Config), createDefaultConfig().(*Config)
	both := newSignals()
	aMetrics, aLogs := both.both(t, a, first)
	bMetrics, bLogs := both.both(t, b, second)
	require.NoError(t, aMetrics.Start(t.Context(), newHost()))
	assert.Equal(t, [3]int32{1, 1, 0}, first.counts())
	assert.Equal(t, [3]int32{0, 0, 0}, second.counts())
	for _, signal := range []component.Component{aMetrics, aLogs, bMetrics, bLogs} {
		require.NoError(t, signal.Shutdown(t.Context()))
	}
}

func TestTheSecondSignalGetsTheFirstOnesStartError(t *testing.T) {
	r := &countingRunner{startError: errNoStart}
	metrics, logs := newSignals().both(t, createDefaultConfig().(*Config), r)
	host := newHost()
	require.ErrorIs(t, metrics.Start(t.Context(), host), errNoStart)
	require.ErrorIs(t, logs.Start(t.Context(), host), errNoStart)
	assert.Equal(t, [3]int32{1, 0, 0}, r.counts())
	assert.Empty(t, host.reported(), "the collector reports what Start returns")
	require.NoError(t, metrics.Shutdown(t.Context()))
	require.NoError(t, logs.Shutdown(t.Context()))
}

func TestAnIgnoredFailureShowsInTheStatusOfBothSignals(t *testing.T) {
	r := &countingRunner{startError: errNoStart}
	config := createDefaultConfig().(*Config)
	config.ErrorMode = errorModeIgnore
	metrics, logs := newSignals().both(t, config, r)
	first, second := newHost(), newHost()
	require.NoError(t, metrics.Start(t.Context(), first))
	require.NoError(t, logs.Start(t.Context(), second))
	permanent := []string{"StatusPermanentError: CAP_BPF is missing"}
	assert.Equal(t, permanent, first.reported())
	assert.Equal(t, permanent, second.reported())
	assert.Equal(t, [3]int32{1, 0, 0}, r.counts())
	require.NoError(t, metrics.Shutdown(t.Context()))
	require.NoError(t, logs.Shutdown(t.Context()))
}

func TestAnErrorForTheOperatorHasNoStack(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	settings := receivertest.NewNopSettings(metadata.Type)
	settings.Logger = zap.New(core, zap.AddStacktrace(zap.ErrorLevel)) // as the Collector's
	config := createDefaultConfig().(*Config)
	config.ErrorMode = errorModeIgnore
	both := newSignals()
	both.all.newAgent = (&countingRunner{startError: errNoStart}).newAgent
	metrics, err := both.factory.CreateMetrics(t.Context(), settings, config, consumertest.NewNop())
	require.NoError(t, err)
	require.NoError(t, metrics.Start(t.Context(), newHost()))
	require.NoError(t, metrics.Shutdown(t.Context()))
	errs := logged.FilterLevelExact(zap.ErrorLevel).All()
	require.Len(t, errs, 1)
	require.Empty(t, errs[0].Stack)
}

func TestShutdownIsSafeBeforeStartAndTwice(t *testing.T) {
	r := &countingRunner{}
	metrics, logs := newSignals().both(t, createDefaultConfig().(*Config), r)
	for range 2 {
		require.NoError(t, metrics.Shutdown(t.Context()))
		require.NoError(t, logs.Shutdown(t.Context()))
	}
	assert.Equal(t, [3]int32{0, 0, 0}, r.counts())

	require.NoError(t, metrics.Start(t.Context(), newHost()))
	assert.Equal(t, [3]int32{0, 0, 0}, r.counts(), "it was shut down")
}

func TestAnErrorOfTheStopIsReturnedOnce(t *testing.T) {
	r := &countingRunner{stopError: errors.New("the last metrics")}
	metrics, logs := newSignals().both(t, createDefaultConfig().(*Config), r)
	require.NoError(t, metrics.Start(t.Context(), newHost()))
	require.NoError(t, logs.Start(t.Context(), newHost()))
	require.NoError(t, metrics.Shutdown(t.Context()))
	require.ErrorIs(t, logs.Shutdown(t.Context()), r.stopError)
	require.NoError(t, metrics.Shutdown(t.Context()))
	assert.Equal(t, [3]int32{1, 1, 1}, r.counts())
}

func TestAConfigurationThatIsUsedAgainRunsAnew(t *testing.T) {
	config, both := createDefaultConfig().(*Config), newSignals()
	for range 2 {
		r := &countingRunner{}
		metrics, logs := both.both(t, config, r)
		require.NoError(t, metrics.Start(t.Context(), newHost()))
		require.NoError(t, logs.Start(t.Context(), newHost()))
		require.NoError(t, metrics.Shutdown(t.Context()))
		require.NoError(t, logs.Shutdown(t.Context()))
		assert.Equal(t, [3]int32{1, 1, 1}, r.counts())
	}
}
