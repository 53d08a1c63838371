// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	// tickInterval is how often the source checks its status, and forgets what was retained.
	tickInterval = time.Second
	// patience is how long the first response may take before that is an error.
	patience = 5 * time.Second
	// A connection is retried after 250 ms, and later after at most 15 s, as ztunnel has it, and the jitter.
	firstPause, longestPause = 250 * time.Millisecond, 15 * time.Second
	// unseen is how long before its end a stream may have missed something.
	unseen = time.Second
	// steady is how long a connection must have lasted to be tried again at once.
	steady = 5 * time.Second
)

// Source answers from the resources that istiod sends.
type Source struct {
	identity.Resolver
	config   *Config
	settings identity.SourceSettings
	pod      pod
	loadTLS  func() (*tls.Config, error) // of the next connection; nil settings: plain text
	mesh     mesh
	index    *identity.Index
	registry *registry
	gap      *identity.Gap
	heard    atomic.Int64 // when istiod last sent anything, since began
	began    time.Time
	behind   atomic.Int64 // resources received, and not in use yet
	demand   *demand      // nil: everything is subscribed to
	stop     context.CancelFunc
	done     sync.WaitGroup

	mu       sync.Mutex
	current  bool       // this stream's first response has been applied
	once     bool       // any stream's has
	lost     time.Time  // since when the last stream may have missed something, until the next one's first response
	failing  *syncError // why there is no stream
	rejected map[string]error

	// Of the goroutine that ticks.
	reported string // the key of the error that was reported last; empty: none
	synced   bool   // that it is in sync was reported last
}

// New returns a source that knows nothing before Start.
func New(config *Config, settings identity.SourceSettings) *Source {
	return newSource(config, settings, environmentPod(), config.loadTLS)
}

func newSource(config *Config, settings identity.SourceSettings, self pod, loadTLS func() (*tls.Config, error)) *Source {
	settings = settings.WithDefaults()
	gap := identity.NewGap()
	options := []identity.IndexOption{identity.WithGap(gap, 0)} // nothing shows whether a workload is still there
	var located *pods
	if config.OnDemand {
		if located = openPods(&settings); located != nil {
			options = append(options, identity.WithLocator(located))
		}
	}
	index := identity.NewIndex(settings.Retain, options...)
	index.Incomplete(true)
	s := &Source{
		gap: gap, began: time.Now(),
		Resolver: index, config: config, settings: settings, pod: self, loadTLS: loadTLS,
		mesh: mesh{config.ClusterID, config.TrustDomain}, index: index,
		registry: newRegistry(config, settings.NodeName, index), rejected: make(map[string]error),
	}
	if config.OnDemand {
		s.demand = newDemand(config, &settings, index, located)
		s.Resolver = s.demand
	}
	return s
}

// Start begins to read from istiod, until Close. It does not wait for istiod: until that has sent everything, the source is not in
// sync, and records wait up to settle for their names.
func (s *Source) Start(context.Context) error {
	ctx, stop := context.WithCancel(context.Background()) // Start's own context may end with Start
	s.stop = stop
	s.done.Go(func() { s.follow(ctx) })
	if s.demand != nil {
		s.done.Go(func() { s.demand.run(ctx) })
	}
	s.done.Go(func() {
		begin := time.Now()
		ticker := time.NewTicker(tickInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				s.index.Expire(now)
				s.reportStatus(now.Sub(begin) < patience)
			}
		}
	})
	return nil
}

// Close ends the connection. It may be called without Start, and twice.
func (s *Source) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.done.Wait()
	if s.demand != nil && s.demand.pods != nil {
		return s.demand.pods.Close()
	}
	return nil
}

// Held counts the identities that connections of this node can have now.
func (s *Source) Held() identity.Held { return s.index.Held() }

// Named returns whether a workload of the mesh has the names, or had them within retain.
func (s *Source) Named(names unique.Handle[identity.Names]) bool {
	if s.demand != nil {
		return s.demand.named(names)
	}
	return s.index.Named(names)
}

// Asker returns what asks for addresses when connections use them; nil: everything is subscribed to.
func (s *Source) Asker() identity.Asker {
	if s.demand == nil {
		return nil
	}
	return s.demand
}

// Behind counts the resources that istiod has sent, and that are not in use yet.
func (s *Source) Behind() int { return int(s.behind.Load()) }

// InSync is true while istiod is connected, and everything that it sent could be decoded.
func (s *Source) InSync() bool { return s.syncError() == nil }

// follow keeps a connection to istiod.
func (s *Source) follow(ctx context.Context) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstPause, longestPause
	for {
		begin := time.Now()
		err := s.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		if s.broke(err, now) && now.Sub(begin) >= steady {
			pauses.Reset()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pauses.NextBackOff()):
		}
	}
}

// broke notes why a stream ended, and returns whether it was in sync.
func (s *Source) broke(err error, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.current
	if was {
		s.lost = now.Add(-unseen)
		if heard := s.began.Add(time.Duration(s.heard.Load())); heard.Before(s.lost) {
			s.lost = heard
		}
		s.gap.Begin(s.lost)
	}
	s.current = false
	s.failing = connectionError(s.config.Endpoint, encrypted(err), err)
	return was
}

// applied notes that a response was applied, without the resources that were rejected.
func (s *Source) applied(c *change, refused map[string]error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.current {
		clear(s.rejected) // a new stream sends again what is not held
	}
	s.current, s.once, s.failing, s.lost = true, true, nil, time.Time{}
	s.index.Incomplete(false)
	s.gap.End()
	for name := range c.put {
		delete(s.rejected, name)
	}
	for _, name := range c.remove {
		delete(s.rejected, name)
	}
	for name, err := range refused {
		if len(s.rejected) < maxRejected {
			s.rejected[name] = err
		}
	}
}

// syncError returns why the source is not in sync; nil: it is.
func (s *Source) syncError() *syncError {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failing != nil:
		return s.failing
	case !s.current:
		return &syncError{kind: waiting, endpoint: s.config.Endpoint}
	case len(s.rejected) > 0:
		return &syncError{kind: malformed, endpoint: s.config.Endpoint, cause: oneOf(s.rejected)}
	}
	return nil
}

// reportStatus reports the status when it changed. In the beginning, waiting is no error.
func (s *Source) reportStatus(beginning bool) {
	e := s.syncError()
	switch {
	case e != nil && e.kind == waiting && beginning:
	case e != nil && e.key() != s.reported:
		s.settings.Logger.Error("identities of the mesh are not in sync; the known ones stay in use", zap.Error(e))
		s.settings.OnStatus(e)
		s.reported, s.synced = e.key(), false
	case e == nil && !s.synced:
		held := s.Held()
		s.settings.Logger.Info("identities of the mesh are in sync",
			zap.Int("workloads", held.Workloads), zap.Int("services", held.Services))
		if s.reported != "" {
			s.settings.OnStatus(nil)
		}
		s.reported, s.synced = "", true
	}
}
