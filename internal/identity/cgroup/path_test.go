// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	dashed     = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
	underlined = "1b4e28ba_2fa1_11d2_883f_0016d3cca427"
	plain      = "1b4e28ba2fa111d2883f0016d3cca427"
	container  = "6f1c9c9a0e5d4bb7a1c2d3e4f5061728394a5b6c7d8e9f00112233445566778a"
)

func TestThePodOfAPath(t *testing.T) {
	for _, c := range []struct{ name, path, want string }{
		{"cgroupfs, guaranteed", "/kubepods/pod" + dashed + "/" + container, plain},
		{"cgroupfs, burstable", "/kubepods/burstable/pod" + dashed + "/" + container, plain},
		{"cgroupfs, best effort", "/kubepods/besteffort/pod" + dashed + "/" + container, plain},
		{"the pod's own folder", "/kubepods/besteffort/pod" + dashed, plain},
		{"systemd, guaranteed, containerd", "/kubepods.slice/kubepods-pod" + underlined + ".slice/cri-containerd-" + container + ".scope", plain},
		{"systemd, burstable, cri-o", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + underlined + ".slice/crio-" + container + ".scope", plain},
		{"cri-o's monitor", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + underlined + ".slice/crio-conmon-" + container + ".scope", plain},
		{"crun's folder in the scope", "/kubepods.slice/kubepods-pod" + underlined + ".slice/crio-" + container + ".scope/container", plain},
		{"systemd, docker", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + underlined + ".slice/docker-" + container + ".scope", plain},
		{"systemd in the container", "/kubepods.slice/kubepods-pod" + underlined + ".slice/crio-" + container + ".scope/system.slice/nginx.service", plain},
		{"a static pod, cgroupfs", "/kubepods/burstable/pod" + plain + "/" + container, plain},
		{"a static pod, systemd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + plain + ".slice/cri-containerd-" + container + ".scope", plain},
		{"kind, cgroupfs", "/docker/" + container + "/kubelet/kubepods/burstable/pod" + dashed + "/" + container, plain},
		{"kind, systemd", "/system.slice/docker-" + container + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + underlined + ".slice/cri-containerd-" + container + ".scope", plain},
		{"two drivers", "/system.slice/containerd.service/kubepods-burstable-pod" + underlined + ".slice:cri-containerd:" + container, plain},
		{"seen from another cgroup namespace", "/../../../kubepods/burstable/pod" + dashed + "/" + container, plain},
		{"capitals", "/kubepods/pod" + strings.ToUpper(dashed), plain},
		{"a cluster in a pod: the outer one", "/kubepods/pod" + dashed + "/" + container + "/kubelet/kubepods/pod" + strings.Repeat("a", 32), plain},

		{"the root", "/", ""},
		{"nothing", "", ""},
		{"a service", "/system.slice/kubelet.service", ""},
		{"a user's", "/user.slice/user-1000.slice/session-1.scope", ""},
		{"a container that is no pod's", "/docker/" + container, ""},
		{"all pods", "/kubepods.slice/kubepods-burstable.slice", ""},
		{"a name like a pod's elsewhere", "/user.slice/pod" + dashed, ""},
		{"a slice like a pod's elsewhere", "/user.slice/user-pod" + underlined + ".slice", ""},
		{"a folder like all pods'", "/mykubepods/pod" + dashed, ""},
		{"too short", "/kubepods/pod1b4e28ba", ""},
		{"no digits", "/kubepods/pod" + strings.Repeat("g", 32), ""},
		{"mixed", "/kubepods/pod" + strings.Replace(dashed, "-", "_", 1), ""},
		{"nobody", "/kubepods/pod" + strings.Repeat("0", 32), ""},
		{"too long", strings.Repeat("/x", maxPath) + "/kubepods/pod" + dashed, ""},
	} {
		uid, ok := PodOf(c.path)
		got := ""
		if ok {
			got = hex.EncodeToString(uid[:])
		}
		require.Equal(t, c.want, got, c.name)
	}
}

func TestAPathAllocatesNothing(t *testing.T) {
	path := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + underlined + ".slice/crio-" + container + ".scope"
	require.Zero(t, testing.AllocsPerRun(100, func() { PodOf(path) }))
}

func FuzzPodOf(f *testing.F) {
	f.Add("/kubepods/burstable/pod" + dashed + "/" + container)
	f.Add("/kubepods.slice/kubepods-pod" + underlined + ".slice:x:y")
	f.Add("/kubepods/pod" + plain)
	f.Fuzz(func(t *testing.T, path string) {
		uid, ok := PodOf(path)
		if !ok {
			require.Zero(t, uid)
			return
		}
		// Whatever is found is in the path, in one of its spellings.
		hexed := hex.EncodeToString(uid[:])
		require.Contains(t, strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(path)), hexed)
		require.Contains(t, path, "kubepods")
		// And nothing below changes it.
		if len(path)+80 < maxPath {
			below, ok := PodOf(path + "/kubepods/pod" + strings.Repeat("a", 32))
			require.True(t, ok)
			require.Equal(t, uid, below)
		}
	})
}
