// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net/netip"
	"slices"

	"github.com/elastic/go-freelru"
)

// locality knows which addresses are this machine's.
type locality struct {
	interfaces map[netip.Addr]struct{}
	// virtual are the ranges in which containers get their addresses.
	virtual []netip.Prefix
	// seen are the addresses of ends whose sockets were read here: containers have theirs in other network namespaces.
	seen *freelru.LRU[netip.Addr, struct{}]
}

func newLocality() locality {
	return locality{seen: newCache[netip.Addr, struct{}](maxAddresses, hashAddr)}
}

func (l *locality) has(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() { // a connect to 0.0.0.0 leads to this host
		return true
	}
	if _, ok := l.interfaces[a]; ok {
		return true
	}
	_, ok := l.seen.Get(a)
	return ok
}

// meet notes the address of a local end.
func (l *locality) meet(a netip.Addr) {
	if a.IsValid() && !l.has(a) {
		l.seen.Add(a, struct{}{})
	}
}

// nearby returns whether an address that is not known to be this machine's may be that of a new container.
func (l *locality) nearby(a netip.Addr) bool {
	return slices.ContainsFunc(l.virtual, func(p netip.Prefix) bool { return p.Contains(a) })
}

func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func plain(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(plainAddr(a.Addr()), a.Port())
}
