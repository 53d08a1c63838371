// SPDX-License-Identifier: Apache-2.0

package identity

// verdict is whether it is certain who had an address.
type verdict uint8

const (
	undisputed  verdict = iota
	disputed            // it was one of several, or a workload that was never reported
	disputedYet         // the same, and the next report may decide it
)

// ownerOf is the workload with an address of its own; nil: there is none, or it is disputed.
func ownerOf(h *history[Workload], at moment) (*Workload, verdict) {
	var newer *tenure[Workload] // which may not have begun yet
	for t := range h.all {
		switch {
		case t.shares() || !t.covers(at):
		case newer == nil && at < t.began():
			newer = t
		case newer == nil:
			if t.ends.mark() && at >= t.ended() {
				return nil, disputed
			}
			return t.holder, undisputed
		case t.until <= newer.began() && at < t.ended():
			return t.holder, undisputed // the newer one began after it
		case t.open():
			return nil, disputedYet
		default:
			return nil, disputed
		}
	}
	if newer != nil {
		return newer.holder, undisputed
	}
	return nil, undisputed
}

// sharerOf decides between the workloads that share an address; with noPod it is known to be none of the pods.
func sharerOf(h *history[Workload], at moment, port uint16, noPod bool) *Workload {
	var sharing, serving, node *Workload
	var claim *tenure[Workload]
	shared := 0
	for t := range h.all {
		w := t.holder
		switch {
		case !t.shares() || !t.covers(at) || noPod && w.PodUID != (PodUID{}):
			continue
		case w.Node:
			node = w
			continue
		case w.Claimed: // the first claim wins
			if w.serves(port) && (claim == nil || t.from < claim.from || t.from == claim.from && w.UID < claim.holder.UID) {
				claim = t
			}
			continue
		}
		shared++
		sharing = w
		if w.serves(port) && (serving == nil || w.UID < serving.UID) {
			serving = w
		}
	}
	switch {
	case serving != nil:
		return serving
	case node != nil:
		return node
	case shared == 1:
		return sharing
	case shared == 0 && claim != nil:
		return claim.holder
	}
	return nil
}
