// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"
)

// instances are the receivers of one factory: one per configuration, whatever the number of signals.
type instances struct {
	// newAgent creates what an instance runs. All that can fail at start fails here.
	newAgent func(*instance) (runner, error)

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
type pipeline[C any] struct {
	settings receiver.Settings
	next     C
}

// runner is what an instance starts and stops.
type runner interface {
	Start()
	Stop(context.Context) error
}

// instance is one receiver. The collector starts and stops it once per signal; only the first start and the first stop count.
type instance struct {
	config  *Config
	metrics *pipeline[consumer.Metrics] // nil: no metrics pipeline
	logs    *pipeline[consumer.Logs]    // nil: no logs pipeline

	newAgent func(*instance) (runner, error)
	forget   func() // the next signal of the configuration gets another instance

	mu      sync.Mutex
	started bool
	stopped bool
	failure error // of the start, returned to every signal
	agent   runner

	status status
}

// settings returns the settings of the first signal.
func (i *instance) settings() receiver.Settings {
	if i.metrics != nil {
		return i.metrics.settings
	}
	return i.logs.settings
}

// Start implements component.Component.
func (i *instance) Start(_ context.Context, host component.Host) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status.add(host)
	if !i.started && !i.stopped {
		i.started = true
		i.failure = i.startAgent()
	}
	if i.failure != nil && i.config.ErrorMode == errorModeIgnore {
		return nil
	}
	return i.failure
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
func (i *instance) Shutdown(ctx context.Context) error {
	i.forget()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	if i.agent == nil {
		return nil
	}
	a := i.agent
	i.agent = nil
	return a.Stop(ctx)
}
