// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"time"

	"github.com/elastic/go-freelru"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// directFor is how long it is remembered that the proxy takes none of a process's connections.
const directFor = 10 * time.Minute

// maxRedirected bounds what is remembered of redirects. The least recently used is forgotten.
const maxRedirected = 4096

// redirects are the network namespaces in which a proxy takes connections, and which processes there it takes none of.
type redirects struct {
	in     *freelru.LRU[identity.Netns, struct{}]
	direct *freelru.LRU[resident, struct{}]
}

// resident is a process of a network namespace.
type resident struct {
	netns identity.Netns
	pid   uint32
}

func newRedirects() redirects {
	r := redirects{
		in:     newRemembered(func(n identity.Netns) uint32 { return scatter(n.Inode) }),
		direct: newRemembered(func(r resident) uint32 { return scatter(r.netns.Inode ^ scatter(r.pid)) }),
	}
	r.direct.SetLifetime(directFor)
	return r
}

func newRemembered[K comparable](hash func(K) uint32) *freelru.LRU[K, struct{}] {
	cache, err := freelru.New[K, struct{}](maxRedirected, hash)
	if err != nil {
		panic(err) // the capacity is 0, or there is no hash function
	}
	return cache
}

// scatter is the finalizer of MurmurHash3.
func scatter(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

// mayTake returns whether the proxy of its network namespace may have taken a client's connection.
func (r *redirects) mayTake(c *flow.Connection) bool {
	if c.Direction != flow.Outbound || r.in.Len() == 0 {
		return false
	}
	if _, redirecting := r.in.Get(c.Netns); !redirecting {
		return false
	}
	_, direct := r.direct.Get(resident{c.Netns, c.Local.PID})
	return !direct
}

// took notes that the proxy of its network namespace takes connections, and this one.
func (r *redirects) took(c *flow.Connection) {
	r.in.Add(c.Netns, struct{}{})
	if c.Direction == flow.Outbound && c.Local.PID != 0 {
		r.direct.Remove(resident{c.Netns, c.Local.PID})
	}
}

// left notes that nobody took a connection: it may be the proxy's own.
func (r *redirects) left(c *flow.Connection) {
	if c.Local.PID != 0 && r.mayTake(c) {
		r.direct.Add(resident{c.Netns, c.Local.PID}, struct{}{})
	}
}

// isHop returns whether a connection stays in its network namespace: packets of which one address is loopback's do not leave a pod.
// One of two such addresses is what a redirect leaves, or a proxy that calls its workload.
func (n *Namer) isHop(c *flow.Connection) bool {
	return n.settings.Hops != NoHops && c.Netns != n.settings.Node && c.Source.Addr().IsLoopback() != c.Destination.Addr().IsLoopback()
}

// hop marks f as a hop between a workload and its proxy, which are one.
func (n *Namer) hop(f *flow.Flow) {
	f.Hop = true
	n.redirects.took(f.Connection)
	if f.Connection.Direction == flow.Inbound && f.Destination != nil {
		f.Source = f.Destination
	} else if f.Source != nil {
		f.Destination = f.Source
	} else {
		f.Source = f.Destination
	}
}

// behindRedirect returns the address that a client asked for before the server's own network namespace changed its port, if that is
// what happened.
func behindRedirect(server, asked netip.AddrPort, w *identity.Workload) (netip.AddrPort, bool) {
	if !asked.IsValid() || isShared(w) || asked.Addr() != server.Addr() || asked.Port() == server.Port() || asked.Addr().IsLoopback() {
		return server, false
	}
	return asked, true
}
