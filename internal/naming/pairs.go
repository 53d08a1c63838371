// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// pair is a connection with one or both of its ends on this node.
type pair struct {
	client, server half
	service        *identity.Service // that the client asked for; nil: none is known
	asked          socket            // where the client's packets go, as far as its own network namespace and this node know
	address        socket            // of the server's
	hop            bool              // the server is the proxy in the client's network namespace
}

// socket is an address and a port in less memory than netip has them.
type socket struct {
	address [16]byte
	port    uint16
}

func socketOf(a netip.AddrPort) socket { return socket{a.Addr().As16(), a.Port()} }

func (s socket) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(s.address).Unmap(), s.port)
}

// half is what the record of one end knows.
type half struct {
	id       uint64             // of the end; 0: no record of it came
	workload *identity.Workload // at this end; nil: nobody who is known
	until    int64              // Unix time in ns until which records of this end wait for the other one; 0: they did not
	settled  bool               // nobody else will turn out to be at this end
	closed   bool               // its last record was passed on
}

// ends returns the half of an end, and that of the other one.
func (p *pair) ends(d flow.Direction) (own, other *half) {
	if d == flow.Inbound {
		return &p.server, &p.client
	}
	return &p.client, &p.server
}

// pairs are the connections whose other end may be on this node, by their initial sequence numbers. When there is no more room, it
// forgets those that had no record for the longest time: at least half of limit are held.
type pairs struct {
	limit        int
	newer, older map[uint64]pair
	forgotten    uint64 // for want of room
}

func newPairs(limit int) pairs {
	return pairs{limit: limit, newer: make(map[uint64]pair)}
}

func (p *pairs) len() int { return len(p.newer) + len(p.older) }

func (p *pairs) get(key uint64) (pair, bool) {
	if one, ok := p.newer[key]; ok {
		return one, true
	}
	one, ok := p.older[key]
	return one, ok
}

func (p *pairs) put(key uint64, one pair) {
	if len(p.newer) >= p.limit/2 {
		p.forgotten += uint64(len(p.older))
		p.newer, p.older = make(map[uint64]pair, p.limit/2), p.newer
	}
	delete(p.older, key)
	p.newer[key] = one
}

func (p *pairs) delete(key uint64) {
	delete(p.newer, key)
	delete(p.older, key)
}

// held is the pair of the record at hand: it is looked up once, and written once.
type held struct {
	key     uint64 // 0: the record has no pair
	pair    pair
	changed bool
}

func (p *pairs) hold(key uint64) held {
	h := held{key: key}
	if key != 0 {
		h.pair, _ = p.get(key)
	}
	return h
}

// keep follows a record that waits.
func (p *pairs) keep(h *held) {
	if h.changed {
		p.put(h.key, h.pair)
	}
}

// pass follows a record that was passed on. After the last records of both ends, nothing is kept.
func (p *pairs) pass(h *held, c *flow.Connection) {
	if h.key == 0 {
		return
	}
	own, other := h.pair.ends(c.Direction)
	if c.Event == flow.EventClosed && own.id == c.ID {
		if other.closed {
			p.delete(h.key)
			return
		}
		own.closed, h.changed = true, true
	}
	p.keep(h)
}

// waits returns whether records of the end wait for the other one, of those that were read at the time.
func (p *pairs) waits(c *flow.Connection, observed int64) bool {
	one, ok := p.get(c.Pair())
	if !ok {
		return false
	}
	own, other := one.ends(c.Direction)
	return own.id == c.ID && observed < own.until && other.id == 0
}
