// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"time"
)

// UpsertService is Upsert for a service.
func (x *Index) UpsertService(s *Service, since, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.serviceNow(s.Key())
	if old != nil && old.equal(s) {
		return
	}
	var had []address
	var key []ServiceKey
	var ports []uint16
	if old != nil {
		had, key, ports = plain(old.Addresses), []ServiceKey{s.Key()}, old.onNodes()
	}
	at := momentOf(now)
	next := tenureOf(s, Since(since, now), now)
	x.byAddress.move(old, had, next, plain(s.Addresses), leave{until: at}, at)
	x.byIdentity.move(old, key, next, []ServiceKey{s.Key()}, leave{until: at}, at)
	x.byNodePort.move(old, ports, next, s.onNodes(), leave{until: at}, at)
	if old == nil {
		x.held.Services++
	}
	x.observedService(old, s)
	x.generation.Add(1)
}

// RemoveService is Remove for a service.
func (x *Index) RemoveService(key ServiceKey, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.serviceNow(key)
	if old == nil {
		return
	}
	at := momentOf(now)
	x.byAddress.move(old, plain(old.Addresses), tenure[Service]{}, nil, leave{until: at}, at)
	x.byIdentity.move(old, []ServiceKey{key}, tenure[Service]{}, nil, leave{until: at}, at)
	x.byNodePort.move(old, old.onNodes(), tenure[Service]{}, nil, leave{until: at}, at)
	x.held.Services--
	x.observedService(old, nil)
	x.generation.Add(1)
}

// serviceNow is the service that is there; nil: none is.
func (x *Index) serviceNow(key ServiceKey) *Service {
	for t := range x.byIdentity.read(key).all {
		if t.open() {
			return t.holder
		}
	}
	return nil
}

// IsService returns whether a service has the address now.
func (x *Index) IsService(a netip.Addr) bool {
	h := x.byAddress.read(addressOf(plainAddr(a)))
	if h == nil {
		return false
	}
	for t := range h.all {
		if t.open() && !t.holder.external(a) {
			return true
		}
	}
	return false
}
