// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	// maxMisses bounds the lookups that wait to be asked about. One that finds the queue full is made again when the
	// generation changes, at the latest after demandTick.
	maxMisses = 8192
	// demandTick is how often addresses are asked for again, and given up.
	demandTick = 250 * time.Millisecond
	// startUp is how long after the start whoever has an address is taken to have had it always, as it is with all that the
	// first response of a subscription to everything has. Later, an address is asked for soon after its first connection.
	startUp = time.Minute
	// longestLag is how old a connection may be that is named after an answer.
	longestLag = 5 * time.Minute
	// certain is how long after a connection began the answer that nobody has its address is final: until then the server
	// may be behind.
	certain = 2 * time.Second
	// answerDue is how long an answer may take until the address is asked for again.
	answerDue = 5 * time.Second
	// goneFor is how long after its end a workload is known to be gone, so that its series end.
	goneFor = 10 * time.Minute
)

// repeats are the times between two questions about an address that nobody has; the last one goes on. istiod does not report
// it when somebody gets an address that nobody had.
var repeats = [...]time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 30 * time.Second}

// demand asks for the addresses that connections meet, and holds the answers while the addresses are in use.
//
// A lookup reads wants and never waits: what is not there goes into a queue, without a lock. What takes it from there holds
// mu, as all that changes wants does.
type demand struct {
	config   *Config
	nodeName string
	retain   time.Duration
	index    *identity.Index
	pods     *pods // nil: processes cannot be located
	began    time.Time

	wants   *xsync.Map[netip.Addr, *want]
	misses  *xsync.MPMCQueue[miss]
	asleep  atomic.Bool   // nobody takes misses: wake whoever does
	wake    chan struct{} // holds one
	seconds atomic.Int64  // since 1970, for the last use of a want
	answers atomic.Uint64 // changes when answers may have, beside those of the index
	counts  struct{ requests, repeats, released, refused, missed atomic.Uint64 }

	mu      sync.Mutex
	network string                      // whose addresses are asked for
	entries map[string]*entry           // what the server sent and is held, by the resource's name
	at      map[netip.Addr][]*entry     // of the network's addresses, who has them
	behind  map[identity.ServiceKey]int // how many workloads held are behind a service
	asked   int                         // wants that are not local
	spare   []spare                     // wants that may go when there is no room, the oldest first
	gone    map[unique.Handle[identity.Names]]time.Time
	missed  uint64 // counts.missed at the last tick
	out     outbox
}

// want is an address that is held.
type want struct {
	used    atomic.Int64 // when it was last looked up, in seconds since 1970
	vacant  atomic.Int64 // when the server said that nobody has it, in ns since 1970; 0: it did not, or somebody has it
	replied atomic.Bool  // there is an answer

	// Under demand.mu.
	local   bool      // it is a pod's on this node: held while the pod has it, and not asked for
	first   time.Time // when the oldest connection began that asks for it
	times   int       // how often the answer was that nobody has it
	againAt time.Time // when to ask again; zero: never
	spare   bool      // it is in demand.spare
}

type spare struct {
	address netip.Addr
	want    *want
}

// miss is a lookup of an address that is not held.
type miss struct {
	address netip.Addr
	at      int64 // when the connection began, in ns since 1970
}

var (
	_ identity.Resolver = (*demand)(nil)
	_ identity.Asker    = (*demand)(nil)
)

func newDemand(config *Config, settings *identity.SourceSettings, index *identity.Index, located *pods) *demand {
	d := &demand{
		config: config, nodeName: settings.NodeName, retain: settings.Retain, index: index, pods: located, began: time.Now(), network: config.Network,
		wants:   xsync.NewMap[netip.Addr, *want](),
		misses:  xsync.NewMPMCQueue[miss](maxMisses),
		wake:    make(chan struct{}, 1),
		entries: make(map[string]*entry), at: make(map[netip.Addr][]*entry),
		behind: make(map[identity.ServiceKey]int),
		gone:   make(map[unique.Handle[identity.Names]]time.Time),
		out:    newOutbox(),
	}
	d.seconds.Store(d.began.Unix())
	return d
}

// Resolve returns who had the end, and asks for an address that is not held.
func (d *demand) Resolve(end identity.End, at time.Time) (w *identity.Workload, settled bool) {
	w, settled = d.index.Resolve(end, at)
	if d.index.Untrusted(end.Netns) {
		return w, settled
	}
	wanted := d.look(end.Address.Addr(), at)
	if w == nil && !settled && wanted != nil {
		settled = wanted.isVacant(at)
	}
	return w, settled
}

// Service returns the destination's service. An address that was asked for and is not held is asked for.
func (d *demand) Service(original, destination netip.AddrPort, w *identity.Workload, at time.Time) *identity.Service {
	if original.IsValid() {
		d.look(original.Addr(), at)
	}
	return d.index.Service(original, destination, w, at)
}

// Untrusted implements identity.Resolver.
func (d *demand) Untrusted(at identity.Netns) bool { return d.index.Untrusted(at) }

// Impostor implements identity.Resolver.
func (d *demand) Impostor(end identity.End, at time.Time) bool { return d.index.Impostor(end, at) }

// Generation changes also when the answer is that nobody has an address.
func (d *demand) Generation() uint64 { return d.index.Generation() + d.answers.Load() }

// Answered implements identity.Asker.
func (d *demand) Answered(address netip.Addr, at time.Time) bool {
	if !askable(address) {
		return true
	}
	w := d.look(address, at)
	return w != nil && w.replied.Load() && (w.vacant.Load() == 0 || w.isVacant(at))
}

// Hold implements identity.Asker.
func (d *demand) Hold(address netip.Addr) { d.look(address, time.Now()) }

// isVacant returns whether nobody had the address when a connection began.
func (w *want) isVacant(at time.Time) bool {
	vacant := w.vacant.Load()
	return vacant != 0 && vacant >= at.Add(certain).UnixNano()
}

// look notes that an address is in use, and returns it if it is held. It takes no lock and allocates nothing; of the lookups
// that find nothing, the first one after a rest wakes who takes them.
func (d *demand) look(address netip.Addr, at time.Time) *want {
	address = bare(address)
	if w, held := d.wants.Load(address); held {
		if now := d.seconds.Load(); w.used.Load() != now {
			w.used.Store(now)
		}
		return w
	}
	if !askable(address) {
		return nil
	}
	if !d.misses.TryEnqueue(miss{address, at.UnixNano()}) {
		d.counts.missed.Add(1)
	}
	if d.asleep.CompareAndSwap(true, false) {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// askable returns whether an address can be another machine's, or a pod's.
func askable(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// named returns whether a workload may have the names. One that is given up because nobody uses its addresses is not gone.
func (d *demand) named(names unique.Handle[identity.Names]) bool {
	if d.index.Named(names) {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, gone := d.gone[names]
	return !gone
}

// Demand implements identity.Asker.
func (d *demand) Demand() identity.Demand {
	n := identity.Demand{
		Requests: d.counts.requests.Load(), Repeats: d.counts.repeats.Load(), Released: d.counts.released.Load(),
		Refused: d.counts.refused.Load(), Missed: d.counts.missed.Load(),
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wants.Range(func(_ netip.Addr, w *want) bool {
		switch {
		case w.local:
			n.Local++
		case !w.replied.Load():
			n.Asked++
		case w.vacant.Load() != 0:
			n.Unknown++
		default:
			n.Known++
		}
		return true
	})
	return n
}
