// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net/netip"
	"strings"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// sameConnection bounds how far apart the two ends of one connection begin: the client's with its SYN, the server's with
// the ACK, which is late by the SYN's retransmissions. Another connection with the same addresses and ports comes later,
// as the kernel keeps them from use in TIME_WAIT.
const sameConnection = 5 * time.Second

// sighting is the process that an end was seen to have.
type sighting struct {
	who   *identity.Workload
	began time.Time // the connection
}

// Resolve names the end's process, or its address if it is remote. An end without a process (Local is nil) that is on
// this machine is not settled before its own record came by; until then it is who listens there, or its address.
func (s *Source) Resolve(end identity.End, at time.Time) (w *identity.Workload, settled bool) {
	end.Address, end.Peer = plain(end.Address), plain(end.Peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if end.Local != nil {
		w := s.process(*end.Local)
		s.local.meet(end.Address.Addr())
		if end.Local.PID != 0 && end.Address.Port() != 0 {
			s.learn(end, w, at)
		}
		return w, true
	}
	if seen, ok := s.ends.Get(routeOf(&end)); ok && seen.began.Sub(at).Abs() <= sameConnection {
		return seen.who, true
	}
	if a := end.Address.Addr(); !s.local.has(a) {
		return s.remote(a), end.Address.Port() == 0 || !s.local.nearby(a) || !s.await(at)
	}
	if end.Server {
		if w := s.listening(&end); w != nil {
			return w, false
		}
	}
	// An end without a port stands for many: no other record will name it.
	return s.remote(end.Address.Addr()), end.Address.Port() == 0
}

// Untrusted is always false: a local end is named by its process, whatever its address, and a remote one is only its address.
func (*Source) Untrusted(identity.Netns) bool { return false }

// Impostor is always false.
func (*Source) Impostor(identity.End, time.Time) bool { return false }

// Service is always nil: a host knows no services.
func (s *Source) Service(_, _ netip.AddrPort, _ *identity.Workload, _ time.Time) *identity.Service {
	return nil
}

// Generation changes when an end's process is learned.
func (s *Source) Generation() uint64 { return s.generation.Load() }

// learn keeps the process of an end's own record, for the record of the other end.
func (s *Source) learn(end identity.End, w *identity.Workload, at time.Time) {
	if end.Server {
		s.listen(&end, w)
	}
	key := routeOf(&end)
	// A record that waited must not replace what is known from a later connection with the same addresses.
	if seen, ok := s.ends.Get(key); ok && (seen.began.After(at) || seen.who == w && seen.began.Equal(at)) {
		return
	}
	s.ends.Add(key, sighting{w, at})
	s.generation.Add(1)
}

func (s *Source) process(p identity.Process) *identity.Workload {
	if w, ok := s.processes.Get(processKey{p.PID, p.Name}); ok {
		return w
	}
	w := processWorkload(s.hostName, p)
	s.processes.Add(processKey{p.PID, strings.Clone(p.Name)}, w) // the name may lie in a buffer of the reader
	return w
}

func (s *Source) remote(a netip.Addr) *identity.Workload {
	if !a.IsValid() {
		return nil
	}
	if w, ok := s.remotes.Get(a); ok {
		return w
	}
	w := identity.AddressWorkload(a)
	s.remotes.Add(a, w)
	return w
}
