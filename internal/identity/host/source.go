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
)

// refreshInterval is how often the host's addresses are asked for: they change with interfaces.
const refreshInterval = 15 * time.Second

// Source names processes. Unlike a source with an index it takes a lock to answer, because it learns from every record. There is one
// caller.
type Source struct {
	hostName   string // of this host, which stands for the cluster
	addresses  func() ([]netip.Addr, error)
	generation atomic.Uint64
	inSync     atomic.Bool
	stop       context.CancelFunc
	done       sync.WaitGroup

	mu        sync.Mutex
	local     locality
	processes *freelru.LRU[processKey, *identity.Workload]
	remotes   *freelru.LRU[netip.Addr, *identity.Workload]
	ends      *freelru.LRU[route, sighting]
	listeners *freelru.LRU[netip.AddrPort, *identity.Workload]
}

var _ identity.Resolver = (*Source)(nil)

// New returns a source of the named host. It knows no addresses of the host but loopback before Start.
func New(hostName string) *Source {
	return &Source{
		hostName:  hostName,
		addresses: interfaceAddresses,
		local:     newLocality(),
		processes: newCache[processKey, *identity.Workload](maxProcesses, hashProcess),
		remotes:   newCache[netip.Addr, *identity.Workload](maxRemotes, hashAddr),
		ends:      newCache[route, sighting](maxEnds, hashRoute),
		listeners: newCache[netip.AddrPort, *identity.Workload](maxListeners, hashAddrPort),
	}
}

// Named returns true: nobody can list who may be at a remote address.
func (*Source) Named(unique.Handle[identity.Names]) bool { return true }

// Start asks for the host's addresses, and again from time to time until Close.
func (s *Source) Start(context.Context) error {
	if err := s.refresh(); err != nil {
		return fmt.Errorf("ask for the addresses of the host's interfaces: %w: netlink must be allowed", err)
	}
	ctx, stop := context.WithCancel(context.Background()) // Start's own context may end with Start
	s.stop = stop
	s.done.Go(func() {
		ticker := time.NewTicker(refreshInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_ = s.refresh() // what is known stays, and InSync is false
			}
		}
	})
	return nil
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
	addresses, err := s.addresses()
	s.inSync.Store(err == nil)
	if err != nil {
		return err
	}
	interfaces := make(map[netip.Addr]struct{}, len(addresses))
	for _, a := range addresses {
		interfaces[a] = struct{}{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local.interfaces = interfaces
	return nil
}
