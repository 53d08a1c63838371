// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

func TestACapabilityThatIsMissingIsNamed(t *testing.T) {
	testhost.RequireRoot(t)
	for _, capability := range needed {
		t.Run(capability.name, func(t *testing.T) {
			var err error
			withCapabilities(t, func(effective uint64) uint64 {
				return effective &^ (1<<capability.bit | 1<<unix.CAP_SYS_ADMIN)
			}, func() { _, err = Open(Options{}) })
			require.Error(t, err)
			for _, other := range needed {
				assert.Equal(t, other == capability, strings.Contains(err.Error(), other.name+" is missing"), err)
			}
			assert.ErrorContains(t, err, "run as root, add it to the container's securityContext.capabilities, or give it to the binary with setcap")
		})
	}
}

func TestTheNeededCapabilitiesAreEnough(t *testing.T) {
	testhost.RequireRoot(t)
	withCapabilities(t, func(uint64) uint64 {
		return 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_NET_ADMIN
	}, func() {
		p, err := Open(Options{})
		if assert.NoError(t, err) {
			assert.NoError(t, p.Close())
		}
	})
}

// withCapabilities runs f on a thread of its own whose effective capabilities are
// what change makes of the process's.
func withCapabilities(t *testing.T, change func(uint64) uint64, f func()) {
	t.Helper()
	effective, err := capabilities()
	require.NoError(t, err)
	testhost.OnThread(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if !assert.NoError(t, unix.Capget(&header, &data[0])) {
			return
		}
		changed := change(effective)
		data[0].Effective, data[1].Effective = uint32(changed), uint32(changed>>32)
		if assert.NoError(t, unix.Capset(&header, &data[0])) {
			f()
		}
	})
}

// ownCgroup makes a folder of the test's own.
func ownCgroup(t *testing.T) string {
	t.Helper()
	testhost.RequireRoot(t)
	root, err := cgroupRoot("")
	require.NoError(t, err)
	cgroup, err := os.MkdirTemp(root, "kmesh-test-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.Remove(cgroup)) })
	return cgroup
}

func TestTheCgroupMountIsFound(t *testing.T) {
	const hybrid = `25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
`
	for _, test := range []struct{ name, mountinfo, want string }{
		{"unified", hybrid + "40 25 0:36 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"},
		{"hybrid", hybrid + "40 25 0:36 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n", "/sys/fs/cgroup/unified"},
		{"the root before a part", hybrid + "39 25 0:36 /kubepods /pods rw - cgroup2 none rw\n40 25 0:36 / /host/cgroup rw - cgroup2 none rw\n", "/host/cgroup"},
		{"a part if there is no more", "39 25 0:36 /kubepods /pods rw - cgroup2 none rw\n", "/pods"},
		{"with a blank", `40 25 0:36 / /a\040b rw - cgroup2 none rw`, "/a b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := findCgroup(strings.NewReader(test.mountinfo))
			require.NoError(t, err)
			assert.Equal(t, test.want, found)
		})
	}
	_, err := findCgroup(strings.NewReader(hybrid))
	require.ErrorContains(t, err, "no cgroup v2 is mounted here: mount it")
	assert.ErrorContains(t, err, "cgroup_path")
}

func TestACgroupPathThatIsNoneIsRefused(t *testing.T) {
	_, err := cgroupRoot("/proc")
	require.ErrorContains(t, err, "cgroup_path /proc is not in a cgroup v2 file system")
	_, err = cgroupRoot("/nowhere")
	assert.ErrorContains(t, err, "cgroup_path /nowhere")
}

func FuzzFindCgroup(f *testing.F) {
	f.Add("40 25 0:36 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n")
	f.Add(" - cgroup2 ")
	f.Fuzz(func(t *testing.T, mountinfo string) {
		found, err := findCgroup(strings.NewReader(mountinfo))
		assert.NotEqual(t, err == nil, found == "")
	})
}

func TestTheClockFollowsStepsAndSuspend(t *testing.T) {
	boot, wall := int64(time.Hour), time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC).UnixNano()
	now := func(clock int32) int64 {
		if clock == unix.CLOCK_BOOTTIME {
			return boot
		}
		return wall
	}
	at := readClock(now)
	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 4, 6, time.UTC), at.Wall(uint64(boot)-1e9))

	wall += int64(time.Minute) // a step: an event of before it is a minute later on the new clock
	assert.Equal(t, time.Date(2026, 1, 2, 3, 5, 4, 6, time.UTC), readClock(now).Wall(uint64(boot)-1e9))

	boot, wall = boot+int64(8*time.Hour), wall+int64(8*time.Hour) // suspended: both went on
	assert.Equal(t, time.Date(2026, 1, 2, 11, 5, 5, 6, time.UTC), readClock(now).Wall(uint64(boot)))
}

func TestTimesSurviveAStepOfTheWallClock(t *testing.T) {
	slept := int64(0)
	now := func(clock int32) int64 {
		if clock == unix.CLOCK_MONOTONIC {
			return systemTime(unix.CLOCK_BOOTTIME) - slept
		}
		return systemTime(clock)
	}
	monotonic := func(at time.Time) bool { return strings.Contains(at.String(), " m=") }
	clock := Clock{}.next(now)
	at := clock.Wall(uint64(systemTime(unix.CLOCK_BOOTTIME) - 3e9))
	assert.True(t, monotonic(at))
	assert.InDelta(t, 3*time.Second, time.Since(at), float64(time.Second))

	slept = int64(time.Hour)
	clock = clock.next(now)
	assert.False(t, monotonic(clock.Wall(uint64(systemTime(unix.CLOCK_BOOTTIME)-3e9))),
		"it may be from before the suspension, which that clock does not count")
	assert.True(t, monotonic(clock.Wall(uint64(systemTime(unix.CLOCK_BOOTTIME)))))
	assert.Equal(t, clock.awake, clock.next(now).awake)
}

// The connect hooks alone need a cgroup v2: without one the rest runs.
func TestItStartsWithoutACgroupHierarchy(t *testing.T) {
	testhost.RequireRoot(t)
	_, none := findCgroup(strings.NewReader(""))
	require.Error(t, none)
	p, err := openAt(Options{IncludeLoopback: true, NameListeners: true}, "", none)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	missing := make(map[string]error)
	for _, m := range p.Missing() {
		missing[m.Name] = m.Err
	}
	require.ErrorContains(t, missing["connect4"], "no cgroup v2 is mounted here")
	require.ErrorContains(t, missing["connect6"], "no cgroup v2 is mounted here")

	host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
	client, server := pair(t, host, listen(t, host, "10.244.0.11:8000"))
	exchange(t, client, server, 100, 10)
	records := readUntil(t, p, toPort(8000), atLeast(2))
	for _, r := range records {
		require.Equal(t, uint64(110), r.Total.Sent+r.Total.Received)
	}
}
