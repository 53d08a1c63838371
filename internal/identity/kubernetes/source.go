package kubernetes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	// tickInterval is how often the source looks how it fares, and ends what lingered.
	tickInterval = time.Second
	// patience is how long the first lists may take before that is worth a word.
	patience = 5 * time.Second
)

// Source answers from the objects of a cluster.
type Source struct {
	identity.Resolver
	settings  identity.SourceSettings
	index     *identity.Index
	locator   identity.LocatorCloser // nil: only its address finds a pod
	registry  *registry
	resources []*resource
	// sight of the pods: of all objects, theirs give their addresses on.
	sight    *sight
	regained atomic.Uint64 // how often it was regained

	stop context.CancelFunc
	done sync.WaitGroup

	// Of the goroutine that ticks.
	told   string // the ailments that were told last; empty: none
	synced bool   // that it is in sync was told last
}

// New returns a source that knows nothing before Start. It makes the client, but does not connect.
func New(config *Config, settings identity.SourceSettings) (*Source, error) {
	client, err := config.client()
	if err != nil {
		return nil, err
	}
	return newSource(config, settings, client), nil
}

func newSource(config *Config, settings identity.SourceSettings, client kubernetes.Interface) *Source {
	settings = settings.WithDefaults()
	index := identity.NewIndex(settings.Retain)
	locator := settings.OpenLocator()
	if locator != nil {
		index.Locate(locator)
	}
	registry := newRegistry(cluster{config.ClusterID, config.ClusterDomain, config.TrustDomain}, index)
	all := resources(client, registry)
	return &Source{
		Resolver: index, settings: settings, index: index, locator: locator,
		registry: registry, resources: all,
		sight: &all[slices.IndexFunc(all, func(r *resource) bool { return r.name == ofPods })].sight,
	}
}

// Resolve tells who had the end. Of a connection that began while nobody watched the pods this is not settled: the
// address may have been given to another one since it was last heard of.
func (s *Source) Resolve(end identity.End, at time.Time) (w *identity.Workload, settled bool) {
	w, settled = s.Resolver.Resolve(end, at)
	return w, settled && !s.sight.doubts(at)
}

// Generation changes also when answers have become certain.
func (s *Source) Generation() uint64 { return s.Resolver.Generation() + s.regained.Load() }

// Start begins to watch, until Close.  It does not wait for the API server: until that has told all it has, the source is
// not in sync, and records wait for their names as long as they may.
func (s *Source) Start(context.Context) error {
	// Start's own context may end with Start.  The informers' words go to klog, and so to stderr: what a user needs to
	// know of them is told here.
	ctx, stop := context.WithCancel(logr.NewContext(context.Background(), logr.Discard()))
	s.stop = stop
	for _, r := range s.resources {
		s.done.Go(func() { r.informer.RunWithContext(ctx) })
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
				s.registry.tick(now)
				if s.sight.tick(now) {
					s.regained.Add(1)
				}
				s.tell(now.Sub(begin) < patience)
			}
		}
	})
	return nil
}

// Close ends the watches.  It may be called without Start, and twice.
func (s *Source) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.done.Wait()
	if s.locator != nil {
		return s.locator.Close()
	}
	return nil
}

// Held counts the identities of the cluster as it is now.
func (s *Source) Held() identity.Held { return s.index.Held() }

// Named says whether a workload of the cluster has the names, or had them a moment ago.
func (s *Source) Named(names unique.Handle[identity.Names]) bool { return s.index.Named(names) }

// InSync is true while everything is watched and all that was there at the beginning is known.
func (s *Source) InSync() bool {
	for _, r := range s.resources {
		if r.ailment().kind != well {
			return false
		}
	}
	return true
}

// tell says how the source fares, when that changed.  Waiting is no news in the beginning.
func (s *Source) tell(beginning bool) {
	var keys []string
	var errs []error
	for _, a := range ailments(s.resources) {
		if a.kind != waiting || !beginning {
			keys = append(keys, a.key())
			errs = append(errs, &a)
		}
	}
	ailing := strings.Join(keys, "; ")
	switch {
	case len(errs) > 0 && ailing != s.told:
		err := errors.Join(errs...)
		s.settings.Logger.Error("The cluster's identities are not in sync; those that are known stay", zap.Error(err))
		s.settings.OnStatus(err)
		s.told, s.synced = ailing, false
	case len(errs) == 0 && !s.synced && s.InSync():
		held := s.Held()
		s.settings.Logger.Info("The cluster's identities are in sync",
			zap.Int("workloads", held.Workloads), zap.Int("services", held.Services))
		if s.told != "" {
			s.settings.OnStatus(nil)
		}
		s.told, s.synced = "", true
	}
}
