// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/graph"
	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/live"
)

// instances are the exporters of one factory: one for each configuration, however many signals it has.
type instances struct {
	mu  sync.Mutex
	all map[*Config]*instance
}

func newInstances() *instances { return &instances{all: make(map[*Config]*instance)} }

// of returns the instance of a configuration, which it makes at the first call.
func (s *instances) of(settings exporter.Settings, config *Config) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.all[config]; i != nil {
		return i, nil
	}
	g := graph.New(graph.Settings{Window: config.Window, MaxNodes: config.MaxNodes})
	i := &instance{
		config: config, settings: settings, graph: g,
		feed: live.NewFeed(live.Settings{Source: g, MaxViewers: config.MaxViewers, Window: config.Window}),
	}
	i.forget = func() { s.forget(i) }
	s.all[config] = i
	return i, nil
}

func (s *instances) forget(i *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[i.config] == i {
		delete(s.all, i.config)
	}
}

// instance is one exporter. The collector starts and stops it once for each signal; the first start counts, and the last stop.
type instance struct {
	config   *Config
	settings exporter.Settings
	graph    *graph.Graph
	feed     *live.Feed
	forget   func() // so that the configuration's next signal gets another instance

	mu      sync.Mutex
	users   int
	started bool
	failure error // of the start; every signal returns it
	server  *server
	stop    chan struct{}
	running sync.WaitGroup

	telemetry *telemetry
}

func (i *instance) start(ctx context.Context, host component.Host) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.users++
	if !i.started {
		i.started = true
		i.failure = i.open(ctx, host)
	}
	return i.failure
}

func (i *instance) open(ctx context.Context, host component.Host) (err error) {
	if i.telemetry, err = newTelemetry(i.settings.TelemetrySettings, i.graph, i.feed); err != nil {
		return err
	}
	if i.server, err = serve(ctx, host, i); err != nil {
		return err
	}
	i.stop = make(chan struct{})
	i.running.Go(i.expire)
	return nil
}

// expire forgets what the window has passed, with a viewer or without.
func (i *instance) expire() {
	ticker := time.NewTicker(i.config.Window / 20)
	defer ticker.Stop()
	for {
		select {
		case <-i.stop:
			return
		case <-ticker.C:
			i.graph.Expire()
		}
	}
}

// shutdown is safe before start, and more often than start.
func (i *instance) shutdown(ctx context.Context) error {
	i.forget()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.users = max(i.users-1, 0); i.users > 0 {
		return nil
	}
	i.feed.Close() // ends the streams, which the server's shutdown waits for
	var err error
	if i.server != nil {
		err = i.server.shutdown(ctx)
		i.server = nil
	}
	if i.stop != nil {
		close(i.stop)
		i.running.Wait()
		i.stop = nil
	}
	if i.telemetry != nil {
		i.telemetry.shutdown()
		i.telemetry = nil
	}
	return err
}
