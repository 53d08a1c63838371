// SPDX-License-Identifier: Apache-2.0

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
	// tickInterval is how often the source checks its status, and ends what lingered.
	tickInterval = time.Second
	// patience is how long the first lists may take before that is an error.
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
	// gap of the pods: their addresses pass from one to another.
	gap  *watchGap
	gaps atomic.Uint64 // how many have ended

	stop context.CancelFunc
	done sync.WaitGroup

	// Of the goroutine that ticks.
	reported string // the keys of the errors that were reported last; empty: none
	synced   bool   // that it is in sync was reported last
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
	locator := settings.OpenLocator()
	index := identity.NewIndex(settings.Retain, identity.WithLocator(locator))
	registry := newRegistry(cluster{config.ClusterID, config.ClusterDomain, config.TrustDomain}, index)
	all := resources(client, registry)
	return &Source{
		Resolver: index, settings: settings, index: index, locator: locator,
		registry: registry, resources: all,
		gap: &all[slices.IndexFunc(all, func(r *resource) bool { return r.name == ofPods })].gap,
	}
}

// Resolve returns who had the end. For a connection that began in a watch gap this is not settled: the address may have passed to
// another pod.
func (s *Source) Resolve(end identity.End, at time.Time) (w *identity.Workload, settled bool) {
	w, settled = s.Resolver.Resolve(end, at)
	return w, settled && !s.gap.covers(at)
}

// Generation changes also when a watch gap ends, because answers are certain then.
func (s *Source) Generation() uint64 { return s.Resolver.Generation() + s.gaps.Load() }

// Start begins to watch, until Close. It does not wait for the API server: until that has sent everything, the source is not in
// sync, and records wait up to settle for their names.
func (s *Source) Start(context.Context) error {
	// Start's own context may end with Start. The informers log to klog, and so to stderr: what a user needs of that is logged
	// here.
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
				if s.gap.tick(now) {
					s.gaps.Add(1)
				}
				s.reportStatus(now.Sub(begin) < patience)
			}
		}
	})
	return nil
}

// Close ends the watches. It may be called without Start, and twice.
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

// Named returns whether a workload of the cluster has the names, or had them within retain.
func (s *Source) Named(names unique.Handle[identity.Names]) bool { return s.index.Named(names) }

// InSync is true while everything is watched and all that was there at the beginning is known.
func (s *Source) InSync() bool {
	for _, r := range s.resources {
		if r.syncError().kind != inSync {
			return false
		}
	}
	return true
}

// reportStatus reports the status when it changed. In the beginning, waiting is no error.
func (s *Source) reportStatus(beginning bool) {
	var keys []string
	var errs []error
	for _, e := range syncErrors(s.resources) {
		if e.kind != waiting || !beginning {
			keys = append(keys, e.key())
			errs = append(errs, &e)
		}
	}
	failing := strings.Join(keys, "; ")
	switch {
	case len(errs) > 0 && failing != s.reported:
		err := errors.Join(errs...)
		s.settings.Logger.Error("identities of the cluster are not in sync; the known ones stay in use", zap.Error(err))
		s.settings.OnStatus(err)
		s.reported, s.synced = failing, false
	case len(errs) == 0 && !s.synced && s.InSync():
		held := s.Held()
		s.settings.Logger.Info("identities of the cluster are in sync",
			zap.Int("workloads", held.Workloads), zap.Int("services", held.Services))
		if s.reported != "" {
			s.settings.OnStatus(nil)
		}
		s.reported, s.synced = "", true
	}
}
