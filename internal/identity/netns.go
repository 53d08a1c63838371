// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"slices"
	"sync"

	"github.com/puzpuzpuz/xsync/v4"
)

// Netns is the network namespace of a socket. Two with the same addresses are two hosts.
type Netns struct {
	Inode uint32 // as /proc/PID/ns/net shows it, which a later namespace may have again; 0: unknown
	// Nested is true where the first user namespace is not its owner: a process without privileges may have made it, with any
	// address and any route. Runtimes make pods with `hostUsers: false` so, too.
	Nested bool
}

// maxNetns bounds the namespaces that are known for one pod: its processes can make any number of them.
const maxNetns = 8

// occupants are the pods that are known to be in a network namespace, because a process in the pod's own cgroup has had the
// pod's own address there. Reading takes no lock.
type occupants struct {
	own  Netns                        // of this process, which is the node's; zero: unknown
	pods *xsync.Map[Netns, PodUID]    // the last one that was seen there
	of   *xsync.Map[PodUID, *[]Netns] // the oldest first; never changed, only replaced

	mu sync.Mutex // of the writers
}

func newOccupants() *occupants {
	return &occupants{own: OwnNetns(), pods: xsync.NewMap[Netns, PodUID](), of: xsync.NewMap[PodUID, *[]Netns]()}
}

// knows returns whether a pod is known to be in the namespace.
func (o *occupants) knows(at Netns) bool {
	_, known := o.pods.Load(at)
	return known
}

// has returns whether the pod is known to be in the namespace.
func (o *occupants) has(at Netns, pod PodUID) bool {
	there, known := o.pods.Load(at)
	return known && there == pod
}

func (o *occupants) learn(at Netns, pod PodUID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	former, known := o.pods.Load(at)
	if known {
		o.leave(former, at)
	}
	all := o.list(pod)
	if len(all) == maxNetns {
		o.pods.Delete(all[0])
		all = all[1:]
	}
	all = append(slices.Clone(all), at)
	o.of.Store(pod, &all)
	o.pods.Store(at, pod)
}

func (o *occupants) forget(pod PodUID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, at := range o.list(pod) {
		o.pods.Delete(at)
	}
	o.of.Delete(pod)
}

func (o *occupants) leave(pod PodUID, at Netns) {
	all := slices.DeleteFunc(slices.Clone(o.list(pod)), func(n Netns) bool { return n == at })
	if len(all) == 0 {
		o.of.Delete(pod)
		return
	}
	o.of.Store(pod, &all)
}

func (o *occupants) list(pod PodUID) []Netns {
	if all, known := o.of.Load(pod); known {
		return *all
	}
	return nil
}

// residence is what a network namespace shows about the owner of an address that a socket has there.
type residence uint8

const (
	residenceUnknown residence = iota
	residenceOwn               // the owner is there
	residenceOther             // the owner is not there
)

// residence returns whether the owner of an address is in the namespace of a local socket with that address.
func (o *occupants) residence(at Netns, owner *Workload) residence {
	if at.Inode == 0 {
		return residenceUnknown
	}
	if there, known := o.pods.Load(at); known {
		if there == owner.PodUID {
			return residenceOwn
		}
		return residenceOther
	}
	switch {
	case at.Nested:
		return residenceOther
	case at == o.own: // with the node's privileges a proxy can have any address there
		return residenceUnknown
	case owner.PodUID != PodUID{} && len(o.list(owner.PodUID)) > 0:
		return residenceOther
	}
	return residenceUnknown
}
