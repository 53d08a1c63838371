// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/elastic/go-freelru"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/interfaces"
)

const (
	// refreshInterval is how often the host's addresses are asked for: they change with interfaces and containers.
	refreshInterval = 15 * time.Second
	// soonest is the least time between two reads, of which a new address causes the second.
	soonest = time.Second
)

// Source names processes. Unlike a source with an index it takes a lock to answer, because it learns from every record. There is one
// caller.
type Source struct {
	hostName   string                       // of this host, which stands for the cluster
	addresses  func() ([]netip.Addr, error) // of all network namespaces
	virtual    func() []netip.Prefix
	wake       chan struct{}
	generation atomic.Uint64
	inSync     atomic.Bool
	stop       context.CancelFunc
	done       sync.WaitGroup

	mu        sync.Mutex
	local     locality
	looked    time.Time // the beginning of the last look at the addresses
	awaited   bool      // a record waits for the next one
	processes *freelru.LRU[processKey, *identity.Workload]
	remotes   *freelru.LRU[netip.Addr, *identity.Workload]
	ends      *freelru.LRU[route, sighting]
	listeners *freelru.LRU[listener, listening]
}

var _ identity.Resolver = (*Source)(nil)

// New returns a source of the named host. It knows no addresses of the host but loopback before Start.
func New(hostName string) *Source {
	return &Source{
		hostName:  hostName,
		addresses: interfaces.All,
		virtual:   interfaces.Virtual,
		wake:      make(chan struct{}, 1),
		local:     newLocality(),
		processes: newCache[processKey, *identity.Workload](maxProcesses, hashProcess),
		remotes:   newCache[netip.Addr, *identity.Workload](maxRemotes, hashAddr),
		ends:      newCache[route, sighting](maxEnds, hashRoute),
		listeners: newCache[listener, listening](maxListeners, hashListener),
	}
}

// Named returns true: the workloads at remote addresses cannot be listed.
func (*Source) Named(unique.Handle[identity.Names]) bool { return true }

// Start asks for the host's addresses, and again from time to time until Close.
func (s *Source) Start(context.Context) error {
	if err := s.refresh(); err != nil {
		return fmt.Errorf("ask for the addresses of the host's interfaces: %w: netlink must be allowed", err)
	}
	ctx, stop := context.WithCancel(context.Background()) // Start's own context may end with Start
	s.stop = stop
	s.done.Go(func() {
		for {
			if !pause(ctx, soonest, nil) || !pause(ctx, refreshInterval-soonest, s.wake) {
				return
			}
			_ = s.refresh() // what is known stays, and InSync is false
		}
	})
	return nil
}

// pause waits for a time, or until it is woken; false: ctx has ended.
func pause(ctx context.Context, most time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}

// Close may be called without Start, and twice.
func (s *Source) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.done.Wait()
	return nil
}

// Held counts the processes that are remembered.
func (s *Source) Held() identity.Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return identity.Held{Workloads: s.processes.Len()}
}

// InSync is true while the host's addresses are known.
func (s *Source) InSync() bool { return s.inSync.Load() }

func (s *Source) refresh() error {
	now := time.Now()
	addresses, err := s.addresses()
	s.inSync.Store(err == nil)
	if err != nil {
		return err
	}
	known := make(map[netip.Addr]struct{}, len(addresses))
	for _, a := range addresses {
		known[plainAddr(a)] = struct{}{}
	}
	virtual := s.virtual()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local.interfaces, s.local.virtual, s.looked = known, virtual, now
	if s.awaited {
		s.awaited = false
		s.generation.Add(1)
	}
	return nil
}

// await has the addresses looked at again for a connection that is newer than the last look; false: it is older.
func (s *Source) await(at time.Time) bool {
	if at.Before(s.looked) {
		return false
	}
	s.awaited = true
	select {
	case s.wake <- struct{}{}:
	default: // it is woken already
	}
	return true
}
