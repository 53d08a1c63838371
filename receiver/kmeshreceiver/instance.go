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

// instances are the receivers of this process: one for a configuration, however many
// signals it has.
type instances struct {
	mu  sync.Mutex
	all map[*Config]*instance
}

var running = instances{all: make(map[*Config]*instance)}

func (s *instances) of(config *Config) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.all[config]
	if i == nil {
		i = &instance{config: config, assemble: assemble}
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

// pipeline is where one signal goes to.
type pipeline[C any] struct {
	settings receiver.Settings
	next     C
}

// runner is what an instance starts and stops.
type runner interface {
	start()
	stop(context.Context) error
}

// instance is one receiver. The collector starts and stops it once for each signal; the
// first start counts, and the first stop.
type instance struct {
	config  *Config
	metrics *pipeline[consumer.Metrics] // nil: no metrics pipeline
	logs    *pipeline[consumer.Logs]    // nil: no logs pipeline

	// assemble makes what runs, with everything that can fail; tests put in their own.
	assemble func(*instance) (runner, error)

	mu      sync.Mutex
	started bool
	stopped bool
	failure error // of the start; every signal hears of it
	runs    runner

	health health
}

// settings are those of the one signal, or of the first of two.
func (i *instance) settings() receiver.Settings {
	if i.metrics != nil {
		return i.metrics.settings
	}
	return i.logs.settings
}

// component gives a signal its face.
func (i *instance) component() component.Component { return (*face)(i) }

type face instance

// Start implements component.Component.
func (f *face) Start(_ context.Context, host component.Host) error {
	i := (*instance)(f)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.health.add(host)
	if !i.started && !i.stopped {
		i.started = true
		i.failure = i.run()
	}
	if i.failure != nil && i.config.ErrorMode == errorModeIgnore {
		return nil
	}
	return i.failure
}

func (i *instance) run() error {
	var err error
	if i.runs, err = i.assemble(i); err != nil {
		if i.config.ErrorMode == errorModeIgnore {
			i.settings().Logger.Error("the receiver does not run; error_mode is ignore, so the collector goes on without it", zap.Error(err))
			i.health.report(componentstatus.NewPermanentErrorEvent(err))
		}
		return err
	}
	i.runs.start()
	return nil
}

// Shutdown implements component.Component. It is safe before Start, and twice.
func (f *face) Shutdown(ctx context.Context) error {
	i := (*instance)(f)
	running.forget(i)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	if i.runs == nil {
		return nil
	}
	runs := i.runs
	i.runs = nil
	return runs.stop(ctx)
}
