// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unique"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	// tickInterval is how often the source checks its status, and ends what lingered.
	tickInterval = time.Second
	// patience is how long the first lists may take before that is an error.
	patience = 5 * time.Second
	// interfacesInterval is how often the addresses of this node's interfaces are asked for.
	interfacesInterval = 5 * time.Second
)

// Source answers from the objects of a cluster.
type Source struct {
	identity.Resolver
	settings  identity.SourceSettings
	index     *identity.Index
	locator   identity.LocatorCloser // nil: only its address finds a pod
	registry  *registry
	followers []*follower
	listed    chan struct{} // closed when everything was listed once

	stop context.CancelFunc
	done sync.WaitGroup

	// Of the goroutine that ticks.
	reported string // the keys of the errors that were reported last; empty: none
	synced   bool   // that it is in sync was reported last
}

// New returns a source that knows nothing before Start. It makes the client, but does not connect.
func New(config *Config, settings identity.SourceSettings) (*Source, error) {
	client, heard, err := config.client()
	if err != nil {
		return nil, err
	}
	return newSource(config, settings, client, heard.last), nil
}

func newSource(config *Config, settings identity.SourceSettings, client apiClient, lastHeard func() time.Time) *Source {
	settings = settings.WithDefaults()
	locator, ofAddresses := settings.OpenLocator(), identity.NewGap()
	index := identity.NewIndex(settings.Retain, identity.WithLocator(locator),
		identity.WithGap(ofAddresses, settings.Settle+settings.Retain))
	s := &Source{
		Resolver: index, settings: settings, index: index, locator: locator, listed: make(chan struct{}),
		registry: newRegistry(cluster{config.ClusterID, config.ClusterDomain, config.TrustDomain}, settings.NodeName, settings.Retain, index),
	}
	index.Incomplete(true)
	for _, k := range kinds(client, s.registry) {
		f := &follower{kindOf: k, canStream: streams(client), lastHeard: lastHeard, gap: identity.NewGap(), onBack: s.wentBack}
		if k.name == ofPods {
			f.gap = ofAddresses // that pass from one to another
		}
		s.followers = append(s.followers, f)
	}
	return s
}

// streams returns whether a client can ask for a list as a part of a watch: a fake one cannot.
func streams(client apiClient) bool {
	fake, ok := client.(interface{ IsWatchListSemanticsUnSupported() bool })
	return !ok || !fake.IsWatchListSemanticsUnSupported()
}

func (s *Source) wentBack(from, to uint64) {
	s.settings.Logger.Warn("the cluster's resource versions went back, as after a restore of its etcd from a backup; everything was listed anew",
		zap.Uint64("from", from), zap.Uint64("to", to))
}

// Start begins to watch, until Close. It does not wait for the API server: until that has sent everything, the source is not in
// sync, and records wait up to settle for their names.
func (s *Source) Start(context.Context) error {
	ctx, stop := context.WithCancel(context.Background()) // Start's own context may end with Start
	s.stop = stop
	later := randomPart(s.settings.Spread)
	var missing sync.WaitGroup
	for _, f := range s.followers {
		missing.Add(1)
		f.onListed = sync.OnceFunc(missing.Done)
		s.done.Go(func() {
			defer f.onListed() // what waits continues when it ends
			if pause(ctx, later) {
				f.run(ctx)
			}
		})
	}
	s.done.Go(func() {
		missing.Wait()
		if ctx.Err() == nil {
			s.index.Incomplete(false)
			close(s.listed)
		}
	})
	s.done.Go(func() { s.watchStatus(ctx) })
	return nil
}

// randomPart returns a random part of a time.
func randomPart(of time.Duration) time.Duration {
	if of <= 0 {
		return 0
	}
	return rand.N(of) // #nosec G404 -- so that nodes do not come together
}

// pause waits, and returns false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (s *Source) watchStatus(ctx context.Context) {
	begin, interfaces := time.Now(), time.Time{}
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	listed := s.listed
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case <-listed:
			listed, now = nil, time.Now()
			s.lookAtInterfaces(now)
		case now = <-ticker.C:
		}
		s.registry.tick(now)
		if now.Sub(interfaces) >= interfacesInterval {
			interfaces = now
			s.lookAtInterfaces(now)
		}
		s.reportStatus(now, now.Sub(begin) < patience)
	}
}

// lookAtInterfaces learns the addresses of this node that no status has. Where they cannot be read, none is learned.
func (s *Source) lookAtInterfaces(now time.Time) {
	all, err := s.settings.Interfaces()
	if err != nil {
		return
	}
	var outward []netip.Addr
	for _, a := range all {
		if ofLink := a.Is6() && a.IsLinkLocalUnicast(); !ofLink && !a.IsLoopback() { // every link has such ones
			outward = append(outward, a)
		}
	}
	s.registry.setInterfaces(outward, now)
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

// Behind counts the objects that the API server has sent, and that are not in use yet.
func (s *Source) Behind() int {
	n := int64(0)
	for _, f := range s.followers {
		n += f.behind.Load()
	}
	return int(n)
}

// InSync is true while everything is watched and all that was there at the beginning is known.
func (s *Source) InSync() bool {
	for _, f := range s.followers {
		if f.syncError(time.Now()).kind != inSync {
			return false
		}
	}
	return true
}

// reportStatus reports the status when it changed. In the beginning, waiting is no error.
func (s *Source) reportStatus(now time.Time, beginning bool) {
	var keys []string
	var errs []error
	waits := false
	for _, e := range syncErrors(s.followers, now) {
		switch e.kind {
		case waiting:
			waits = true
			if beginning {
				continue
			}
		case hesitating:
			waits = true
			continue
		}
		keys = append(keys, e.key())
		errs = append(errs, &e)
	}
	failing := strings.Join(keys, "; ")
	switch {
	case len(errs) > 0 && failing != s.reported:
		err := errors.Join(errs...)
		s.settings.Logger.Error("identities of the cluster are not in sync; the known ones stay in use", zap.Error(err))
		s.settings.OnStatus(err)
		s.reported, s.synced = failing, false
	case len(errs) == 0 && !waits && !s.synced:
		held := s.Held()
		s.settings.Logger.Info("identities of the cluster are in sync",
			zap.Int("workloads", held.Workloads), zap.Int("services", held.Services))
		if s.reported != "" {
			s.settings.OnStatus(nil)
		}
		s.reported, s.synced = "", true
	}
}
