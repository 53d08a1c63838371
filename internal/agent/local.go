// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/interfaces"
)

// localInterval is how often the addresses of this node are read while they are asked for.
const localInterval = 5 * time.Second

// locals are the addresses of the network namespace that this process is in: the node's, on the host's network.
type locals struct {
	read  func() ([]netip.Addr, error)
	known map[netip.Addr]struct{}
	next  time.Time
}

func newLocals() *locals { return &locals{read: interfaces.Own} }

// has returns whether an address is one of them. Where they cannot be read, those that were known stay.
func (l *locals) has(a netip.Addr) bool {
	if now := time.Now(); !now.Before(l.next) {
		l.next = now.Add(localInterval)
		if all, err := l.read(); err == nil {
			l.known = make(map[netip.Addr]struct{}, len(all))
			for _, one := range all {
				l.known[one.Unmap().WithZone("")] = struct{}{}
			}
		}
	}
	_, known := l.known[a]
	return known
}
