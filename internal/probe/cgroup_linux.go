// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const noCgroup = "no cgroup v2 is mounted here: mount it (mount -t cgroup2 none /sys/fs/cgroup/unified), " +
	"or in a container mount the host's /sys/fs/cgroup, and name the place in cgroup_path if it is not found by itself"

// CgroupRoot gives the folder that a Probe with that CgroupPath attaches to.
func CgroupRoot(path string) (string, error) { return cgroupRoot(path) }

// cgroupRoot gives the cgroup v2 folder to attach to: path if it is one, else, for
// an empty path, the first mount of cgroup v2.
func cgroupRoot(path string) (string, error) {
	if path == "" {
		mounts, err := os.Open("/proc/self/mountinfo")
		if err != nil {
			return "", fmt.Errorf("look for the cgroup v2 mount: %w; set cgroup_path", err)
		}
		defer func() { _ = mounts.Close() }()
		return findCgroup(mounts)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return "", fmt.Errorf("cgroup_path %s: %w", path, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", fmt.Errorf("cgroup_path %s is not in a cgroup v2 file system: name the folder where one is mounted (findmnt -t cgroup2)", path)
	}
	return path, nil
}

// belowRoot reports whether a cgroup v2 folder is not the root of the hierarchy, as also a cgroup
// namespace hides it: programs that are attached there miss the other processes.
func belowRoot(cgroup string) (bool, error) {
	const root = 1 // the inode of the hierarchy's root
	info, err := os.Stat(cgroup)
	if err != nil {
		return false, fmt.Errorf("look at the cgroup v2 folder: %w; set cgroup_path", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Ino != root, nil
}

// findCgroup reads the format of proc_pid_mountinfo(5). Of several mounts it takes
// one of the hierarchy's root, so that every process of the host is below it.
func findCgroup(mountinfo io.Reader) (string, error) {
	var found string
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if root := fields[3]; root == "/" {
			return unescape.Replace(fields[4]), nil
		}
		if found == "" {
			found = unescape.Replace(fields[4])
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("look for the cgroup v2 mount: %w; set cgroup_path", err)
	}
	if found == "" {
		return "", errors.New(noCgroup)
	}
	return found, nil
}

// The kernel writes these four as octal in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
