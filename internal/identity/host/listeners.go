// SPDX-License-Identifier: Apache-2.0

package host

import "github.com/kmesh-net/otelcol-kmesh/internal/identity"

// listening is who listens at an address.
type listening struct {
	who   *identity.Workload
	netns uint32
}

// listen notes that a process listens at the end's address: for its own network namespace, and for others, unless a process in
// another one listens at the same address. Then it is not certain which of them an end elsewhere is connected to.
func (s *Source) listen(end *identity.End, w *identity.Workload) {
	own := listening{w, end.Netns.Inode}
	if own.netns != 0 {
		s.listeners.Add(listener{end.Address, own.netns}, own)
	}
	if own.netns != 0 && end.Address.Addr().IsLoopback() {
		return
	}
	whichever := listener{at: end.Address}
	if met, ok := s.listeners.Get(whichever); ok && met.netns != own.netns {
		own = listening{}
	}
	s.listeners.Add(whichever, own)
}

// listening returns who listens at the address of an end whose own record has not come; nil: it is not certain.
func (s *Source) listening(end *identity.End) *identity.Workload {
	if l, ok := s.listeners.Get(listener{end.Address, end.Netns.Inode}); ok && end.Netns.Inode != 0 {
		return l.who
	}
	l, _ := s.listeners.Get(listener{at: end.Address})
	return l.who
}
