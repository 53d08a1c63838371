// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"time"
)

// Vacated returns when the last tenure of an address ended that is over; zero: none that is still known.
func (x *Index) Vacated(a netip.Addr) time.Time {
	h := x.holders.read(addressOf(plainAddr(a)))
	if h == nil {
		return time.Time{}
	}
	last := h.forgotten
	for t := range h.all {
		if !t.open() && t.until > last {
			last = t.until
		}
	}
	return last.time()
}
