// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"strings"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// maxPath bounds a path that is looked at: the kernel's own are below it.
const maxPath = 4096

// PodOf returns the pod of a cgroup's path, as any version, driver and runtime has it; ok is false where it is in none.
//
// kubelets put all pods below one folder: `kubepods/burstable/pod1b4e28ba-….` with the driver cgroupfs,
// `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1b4e28ba_….slice` with systemd's. What is above (a folder
// of the machine's, or of the container that a node of kind is) and below (the runtime's own, one per container) differs
// and does not matter. Of pods within pods the outer one counts: a container must not be able to call itself another's.
func PodOf(path string) (uid identity.PodUID, ok bool) {
	if len(path) > maxPath {
		return uid, false
	}
	var at position
	for part := range strings.SplitSeq(path, "/") {
		at = at.below(part)
	}
	return at.pod, at.inPod()
}

// position is what the folders on the way down show.
type position struct {
	kubepods bool // below the folder of all pods
	pod      identity.PodUID
}

func (p position) inPod() bool { return p.pod != identity.PodUID{} }

// below returns the position of a folder's child.
func (p position) below(name string) position {
	if p.inPod() {
		return p
	}
	// Where runtime and kubelet have different drivers, one name is slice:runtime:container.
	name, _, _ = strings.Cut(name, ":")
	if slice, ok := strings.CutSuffix(name, ".slice"); ok {
		if before, uid, ok := cutLast(slice, "-pod"); ok && belongs(before) {
			p.pod, _ = identity.ParsePodUID(uid)
		}
		return p
	}
	if name == "kubepods" {
		return position{kubepods: true}
	}
	if uid, ok := strings.CutPrefix(name, "pod"); ok && p.kubepods {
		p.pod, _ = identity.ParsePodUID(uid)
	}
	return p
}

// belongs returns whether a slice is of the pods': systemd names a slice for all that are above it, as `kubelet-kubepods-burstable`.
func belongs(slice string) bool {
	for part := range strings.SplitSeq(slice, "-") {
		if part == "kubepods" {
			return true
		}
	}
	return false
}

func cutLast(s, separator string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}
