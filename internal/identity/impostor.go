// SPDX-License-Identifier: Apache-2.0

package identity

import "time"

// Untrusted implements Resolver.
func (x *Index) Untrusted(at Netns) bool { return at.Nested && !x.occupants.knows(at) }

// Impostor implements Resolver.
func (x *Index) Impostor(end End, at time.Time) bool {
	h := x.holders.read(addressOf(plainAddr(end.Address.Addr())))
	if h == nil {
		return false
	}
	moment, known, _ := h.moment(momentOf(at), x.lag)
	if !known {
		return false
	}
	if owner, _ := ownerOf(h, moment); owner != nil {
		return x.occupants.residence(end.Netns, owner) == residenceOther
	}
	return x.Untrusted(end.Netns)
}
