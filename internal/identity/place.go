// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"encoding/hex"
	"time"
)

// PodUID is what a kubelet calls a pod in the paths of its cgroups: the UID of the object, or of a static pod the hash of
// its manifest. Both are 16 bytes. Zero: not known.
type PodUID [16]byte

// ParsePodUID reads 32 hexadecimal digits, as they are or grouped as a UUID's by '-', or by '_' as systemd has it. Any
// other text is no UID that a path could have.
func ParsePodUID[T ~string](text T) (uid PodUID, ok bool) {
	var digits [2 * len(uid)]byte
	switch len(text) {
	case len(digits):
		copy(digits[:], text)
	case len(digits) + 4:
		n := 0
		for i := range len(text) {
			switch i {
			case 8, 13, 18, 23:
				if text[i] != text[8] || text[i] != '-' && text[i] != '_' {
					return PodUID{}, false
				}
			default:
				digits[n] = text[i]
				n++
			}
		}
	default:
		return PodUID{}, false
	}
	if _, err := hex.Decode(uid[:], digits[:]); err != nil {
		return PodUID{}, false
	}
	return uid, uid != PodUID{}
}

// Place is where on its node a process runs, according to its cgroup.
type Place uint8

// The places.
const (
	PlaceUnknown Place = iota // and it will stay so: the cgroup is gone, or cannot be seen
	PlaceSought               // not known yet; the generation changes when it is
	PlaceHost                 // in no pod
	PlacePod
)

// Presence is whether a pod is on this node.
type Presence uint8

// The presences.
const (
	PresenceUnknown Presence = iota // it was never seen here
	PresenceSought                  // not known yet; the generation changes when it is
	PresenceHere                    // one of its processes was here then, or later
	PresenceGone                    // it was here before
)

// RootCgroup is the id of the root of cgroup v2, in every kernel. It shows nothing about a process where pods have cgroups of
// version 1.
const RootCgroup = 1

// Locator finds the place of a process that made a socket at the time at, and its pod's UID. It never waits, and an
// answer that is known takes no lock and allocates nothing.
type Locator interface {
	Locate(p Process, at time.Time) (PodUID, Place)
	// Present returns whether the pod had processes on this node at the time at.
	Present(pod PodUID, at time.Time) Presence
	// Generation changes when a process was found that had been asked for.
	Generation() uint64
}
