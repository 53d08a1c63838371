package istio

import (
	"context"
	"crypto/tls"
	"sync"
	"time"
	"unique"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	// tickInterval is how often the source looks how it fares, and forgets what was retained.
	tickInterval = time.Second
	// patience is how long the first response may take before that is worth a word.
	patience = 5 * time.Second
	// A connection is tried again after 250 ms, and later at most 3 s (2 s and what chance adds): sooner than a record that
	// waits for its name gives up.
	firstPause, longestPause = 250 * time.Millisecond, 2 * time.Second
	// steady is how long a connection must have lasted to be tried again at once.
	steady = 5 * time.Second
)

// Source answers from what istiod tells.
type Source struct {
	identity.Resolver
	config   *Config
	settings identity.SourceSettings
	pod      pod
	loadTLS  func() (*tls.Config, error) // of the next connection; nil settings: plain text
	mesh     mesh
	index    *identity.Index
	registry *registry
	stop     context.CancelFunc
	done     sync.WaitGroup

	mu       sync.Mutex
	current  bool      // this stream's first response has been taken in
	once     bool      // any stream's has
	lost     time.Time // when the last stream broke, until the next one's first response
	failing  *ailment  // why there is no stream
	rejected map[string]error

	// Of the goroutine that ticks.
	told   string // what was told last; empty: all is well
	synced bool   // that it is in sync was told last
}

// New returns a source that knows nothing before Start.
func New(config *Config, settings identity.SourceSettings) *Source {
	return newSource(config, settings, environmentPod(), config.loadTLS)
}

func newSource(config *Config, settings identity.SourceSettings, self pod, loadTLS func() (*tls.Config, error)) *Source {
	settings = settings.WithDefaults()
	index := identity.NewIndex(settings.Retain)
	return &Source{
		Resolver: index, config: config, settings: settings, pod: self, loadTLS: loadTLS,
		mesh: mesh{config.ClusterID, config.TrustDomain}, index: index,
		registry: newRegistry(config, settings.NodeName, index), rejected: make(map[string]error),
	}
}

// Start begins to listen to istiod, until Close.  It does not wait for istiod: until that has told all it has, the source is
// not in sync, and records wait for their names as long as they may.
func (s *Source) Start(context.Context) error {
	ctx, stop := context.WithCancel(context.Background()) // Start's own context may end with Start
	s.stop = stop
	s.done.Go(func() { s.follow(ctx) })
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
				s.tell(now.Sub(begin) < patience)
			}
		}
	})
	return nil
}

// Close stops listening.  It may be called without Start, and twice.
func (s *Source) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.done.Wait()
	return nil
}

// Held counts the identities that can be met here now.
func (s *Source) Held() identity.Held { return s.index.Held() }

// Named says whether a workload of the mesh has the names, or had them a moment ago.
func (s *Source) Named(names unique.Handle[identity.Names]) bool { return s.index.Named(names) }

// InSync is true while istiod is heard, and all that it told could be read.
func (s *Source) InSync() bool { return s.ailment() == nil }

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

// broke notes why a stream ended, and tells whether it was in sync.
func (s *Source) broke(err error, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.current
	if was {
		s.lost = now
	}
	s.current = false
	s.failing = ailing(s.config.Endpoint, encrypted(err), err)
	return was
}

// took notes that a response was taken in, less what was refused of it.
func (s *Source) took(c *change, refused map[string]error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.current {
		clear(s.rejected) // a new stream tells again what is not held
	}
	s.current, s.once, s.failing, s.lost = true, true, nil, time.Time{}
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

// ailment tells why the source is not in sync; nil: it is.
func (s *Source) ailment() *ailment {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failing != nil:
		return s.failing
	case !s.current:
		return &ailment{kind: waiting, endpoint: s.config.Endpoint}
	case len(s.rejected) > 0:
		return &ailment{kind: malformed, endpoint: s.config.Endpoint, cause: oneOf(s.rejected)}
	}
	return nil
}

// tell says how the source fares, when that changed.  Waiting is no news in the beginning.
func (s *Source) tell(beginning bool) {
	a := s.ailment()
	switch {
	case a != nil && a.kind == waiting && beginning:
	case a != nil && a.key() != s.told:
		s.settings.Logger.Error("The mesh's identities are not in sync; those that are known stay", zap.Error(a))
		s.settings.OnStatus(a)
		s.told, s.synced = a.key(), false
	case a == nil && !s.synced:
		held := s.Held()
		s.settings.Logger.Info("The mesh's identities are in sync",
			zap.Int("workloads", held.Workloads), zap.Int("services", held.Services))
		if s.told != "" {
			s.settings.OnStatus(nil)
		}
		s.told, s.synced = "", true
	}
}
