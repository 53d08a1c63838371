// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"slices"
	"time"
)

// Resolve returns who had the address. An unknown address is not settled: the source may report its holder later.
func (x *Index) Resolve(end End, at time.Time) (w *Workload, settled bool) {
	if end.Local == nil && x.Untrusted(end.Netns) {
		return nil, true
	}
	a, moment := plainAddr(end.Address.Addr()), momentOf(at)
	h := x.holders.read(addressOf(a))
	if h != nil && end.Local == nil && h.alone(moment) && x.gapInto(moment) < 0 {
		return h.holder, !x.incomplete.Load() // nearly always
	}
	q := question{
		x: x, address: a, port: end.Address.Port(), server: end.Server, local: end.Local != nil, netns: end.Netns, history: h,
		at: moment, time: at,
	}
	if end.Local == nil || x.locator == nil {
		w, settled = q.byAddress(PlaceUnknown)
	} else {
		w, settled = q.byProcess(end.Local)
	}
	return w, settled && !x.incomplete.Load()
}

// question is one lookup.
type question struct {
	x       *Index
	address netip.Addr
	port    uint16
	server  bool               // the port is that of a listener
	local   bool               // it is an end of this node
	netns   Netns              // of its socket
	history *history[Workload] // of the address; nil: no workload ever had it
	at      moment
	time    time.Time // the same
}

// byAddress answers for an end whose process is not known, or is in no pod.
func (q *question) byAddress(place Place) (w *Workload, settled bool) {
	moment, known, settled := q.moment()
	if !known {
		return nil, settled
	}
	owner, verdict := ownerOf(q.history, moment)
	switch {
	case verdict == disputed:
		return nil, true
	case verdict == disputedYet:
		return nil, false
	case owner != nil && q.elsewhere(owner, place):
		return nil, true
	case owner != nil:
		return q.confirmed(owner)
	case q.local && (q.x.occupants.knows(q.netns) || q.netns.Nested):
		return nil, true // who shares an address has it in the node's own namespace
	}
	w = sharerOf(q.history, moment, q.port, place == PlaceHost)
	if w != nil && w.Node && q.server && place != PlaceHost {
		if pod := q.x.declarer(w.Name, q.port, moment); pod != nil && (!q.local || pod.HostNetwork) {
			w = pod
		}
	}
	return w, settled && q.x.gapInto(q.at) < 0 && (w != nil || place != PlaceHost)
}

// byProcess answers for an end of which the process is known: its cgroup knows the pod better than any address.
func (q *question) byProcess(local *Process) (w *Workload, settled bool) {
	moment, known, _ := q.moment()
	if known && local.Cgroup <= RootCgroup && q.x.gapInto(q.at) < 0 {
		// Only /proc knows more, and it is not read for every connection.
		if owner, _ := ownerOf(q.history, moment); owner != nil && !q.x.isElsewhere(owner) &&
			q.x.occupants.residence(q.netns, owner) != residenceOther {
			return owner, true
		}
	}
	uid, place := q.x.locator.Locate(*local, q.time)
	switch place {
	case PlacePod:
		return q.byPod(uid, moment, known)
	case PlaceSought:
		w, _ = q.byAddress(place)
		return w, false
	}
	return q.byAddress(place)
}

// byPod answers for a process of a pod.
func (q *question) byPod(uid PodUID, moment moment, known bool) (w *Workload, settled bool) {
	pod, _ := q.x.byPod.Load(uid)
	if pod != nil && slices.Contains(pod.Addresses, q.address) {
		q.learn(pod)
		return pod, true
	}
	var owner *Workload
	residence := residenceUnknown
	if known {
		var verdict verdict
		if owner, verdict = ownerOf(q.history, moment); verdict != undisputed && (pod == nil || len(pod.Addresses) > 0) {
			return nil, verdict == disputed && pod != nil
		}
	}
	if owner != nil {
		residence = q.x.occupants.residence(q.netns, owner)
	}
	switch {
	case residence == residenceOwn:
		return q.confirmed(owner)
	case pod == nil && (owner == nil || owner.PodUID == (PodUID{}) || q.x.locator.Present(owner.PodUID, q.time) != PresenceHere):
		// The pod may have taken the address over: it is not the former holder's for certain, nor anybody's yet.
		return nil, false
	case pod != nil && len(pod.Addresses) == 0 && (owner == nil || q.x.locator.Present(owner.PodUID, q.time) != PresenceHere):
		return pod, true // it was gone before anybody reported its address, or is new
	case owner != nil && (q.x.isElsewhere(owner) || residence == residenceOther):
		return nil, true
	case owner != nil: // the process is its proxy
		return q.confirmed(owner)
	}
	// An address without a known holder may turn out to be that of a pod whose proxy is in another pod.
	return pod, known || q.address.IsLoopback()
}

// moment returns the time for which to look at the history.
func (q *question) moment() (at moment, known, settled bool) {
	if q.history == nil {
		return q.at, false, false
	}
	return q.history.moment(q.at, q.x.lagAt(q.at))
}

// lagAt is how much older than its holder's beginning a connection may be. In a gap, an earlier holder of the address may never
// have been reported.
func (x *Index) lagAt(at moment) time.Duration {
	if x.gap != nil && x.gap.was(at) {
		return -1
	}
	return x.lag
}

// confirmed returns the owner of an address, as far as it is certain in a gap of the watch: on its own node a pod's cgroup shows
// whether it is still there.
func (q *question) confirmed(owner *Workload) (w *Workload, settled bool) {
	into := q.x.gapInto(q.at)
	if into < 0 {
		return owner, true
	}
	if q.x.locator != nil {
		switch q.x.locator.Present(owner.PodUID, q.time) {
		case PresenceHere:
			return owner, true
		case PresenceGone:
			return nil, false
		}
	}
	if into >= q.x.trust {
		return nil, false
	}
	return owner, false
}

// elsewhere returns whether the owner of an address cannot be who is in a place of this node.
func (q *question) elsewhere(owner *Workload, place Place) bool {
	if !q.local {
		return false
	}
	switch q.x.occupants.residence(q.netns, owner) {
	case residenceOwn:
		return false
	case residenceOther:
		return true
	}
	return q.x.isElsewhere(owner) || place == PlaceHost && q.x.locator.Present(owner.PodUID, q.time) == PresenceHere
}

// learn notes that a process of the pod has the pod's address in this network namespace. One whose tenure is over shows nothing: the
// number of its namespace may be another's now.
func (q *question) learn(pod *Workload) {
	if q.netns.Inode == 0 || pod.HostNetwork || q.netns == q.x.occupants.own || q.x.occupants.has(q.netns, pod.PodUID) {
		return
	}
	for t := range q.history.all {
		if t.open() && t.holder.PodUID == pod.PodUID {
			q.x.occupants.learn(q.netns, pod.PodUID)
			q.x.generation.Add(1)
			return
		}
	}
}

func (x *Index) isElsewhere(w *Workload) bool { return w.Elsewhere && x.placed.Load() }

func (x *Index) gapInto(at moment) time.Duration {
	if x.gap == nil {
		return -1
	}
	return x.gap.into(at)
}
