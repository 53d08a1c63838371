// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// instances are the receivers of one factory: one per configuration, whatever the number of signals.
type instances struct {
	// newAgent creates what an instance runs. All that can fail at start fails here.
	newAgent func(*instance) (runner, error)

	signals int // of the factory

	mu  sync.Mutex
	all map[*Config]*instance
}

func newInstances() *instances {
	return &instances{all: make(map[*Config]*instance), newAgent: func(i *instance) (runner, error) { return newAgent(i) }}
}

// of returns the instance of a configuration, and creates it at the first call.
func (s *instances) of(config *Config) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.all[config]
	if i == nil {
		i = &instance{config: config, newAgent: s.newAgent}
		i.forget = func() { s.forget(i) }
		s.all[config] = i
	}
	return i
}

func (s *instances) forget(i *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[i.config] == i {
		delete(s.all, i.config)
	}
}

// pipeline is the destination of one signal.
type pipeline struct {
	rank     int // of the signal among those of the factory
	signal   string
	settings receiver.Settings
	newSink  func(sink.Settings, *receiverhelper.ObsReport) agent.Sink
}

// runner is what an instance starts and stops.
type runner interface {
	Start()
	Stop(context.Context) error
	// StopSignal ends one signal, and goes on with the others.
	StopSignal(ctx context.Context, name string) error
}

// instance is one receiver. It starts with the first of its signals, and stops with the last.
type instance struct {
	config *Config

	newAgent func(*instance) (runner, error)
	forget   func() // the next signal of the configuration gets another instance

	mu        sync.Mutex
	pipelines []pipeline // those that the collector created, by rank
	signals   int        // that were created and not shut down
	started   bool
	failure   error // of the start, returned to every signal
	agent     runner

	status status
}

// settings returns the settings of the first signal.
func (i *instance) settings() receiver.Settings { return i.pipelines[0].settings }

// signal is an instance as the collector has it: once for each signal. A partial reload can shut down one of them alone.
type signal struct {
	*instance
	name string
	host component.Host
	over bool
}

// add adds a pipeline. One of the same signal takes the place of that before it.
func (i *instance) add(one pipeline) *signal {
	i.mu.Lock()
	defer i.mu.Unlock()
	at, found := slices.BinarySearchFunc(i.pipelines, one, func(a, b pipeline) int { return a.rank - b.rank })
	if found {
		i.pipelines[at] = one
	} else {
		i.pipelines = slices.Insert(i.pipelines, at, one)
	}
	i.signals++
	return &signal{instance: i, name: one.signal}
}

// Start implements component.Component.
func (s *signal) Start(_ context.Context, host component.Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	s.host = host
	s.status.add(host)
	if !s.started {
		s.started = true
		s.failure = s.startAgent()
	}
	if s.failure != nil && s.config.ErrorMode == errorModeIgnore {
		return nil
	}
	return s.failure
}

func (i *instance) startAgent() error {
	a, err := i.newAgent(i)
	if err != nil {
		if i.config.ErrorMode == errorModeIgnore {
			i.settings().Logger.Error("the receiver does not run; error_mode is ignore, so the collector continues without it", zap.Error(err))
			i.status.report(componentstatus.NewPermanentErrorEvent(err))
		}
		return err
	}
	i.agent = a
	a.Start()
	return nil
}

// Shutdown implements component.Component. It is safe before Start, and twice.
func (s *signal) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	s.over = true
	s.status.remove(s.host)
	s.signals--
	if s.signals == 0 {
		s.forget()
	}
	switch {
	case s.agent == nil:
		return nil
	case s.signals > 0:
		return s.agent.StopSignal(ctx, s.name)
	}
	a := s.agent
	s.agent = nil
	return a.Stop(ctx)
}
