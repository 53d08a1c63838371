// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"os"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// initialPIDNamespace is what /proc/PID/ns/pid of a process in the host's namespace points to: PROC_PID_INIT_INO of the
// kernel's include/linux/proc_ns.h.
const initialPIDNamespace = "pid:[4026531836]"

// logSurroundings logs what silently reports nothing, each once, and then one line of what runs where.
func (r *Agent) logSurroundings(settings *Settings, pidNamespace string, continues bool) {
	if target, err := os.Readlink(pidNamespace); err == nil && target != initialPIDNamespace {
		r.logger.Warn("the collector runs in a PID namespace of its own: it cannot look at the processes outside, which own connections; " +
			"run it in the host's (hostPID: true, docker run --pid=host)")
	}
	cgroup, err := probe.CgroupRoot(settings.CgroupPath)
	if err != nil {
		cgroup = err.Error()
	}
	stats, err := r.probe.Stats()
	r.logger.Info("the receiver runs", zap.Error(err),
		zap.String("identity_source", settings.Identity.Name), zap.String("cgroup", cgroup),
		zap.Uint64("older_connections", stats.Tally.Found), zap.Bool("continues_after_reload", continues),
		zap.Strings("capabilities", capabilities()))
}

// privileges are the capabilities that decide about what the receiver can do.
var privileges = []struct {
	bit  uint
	name string
}{
	{unix.CAP_BPF, "CAP_BPF"},
	{unix.CAP_PERFMON, "CAP_PERFMON"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
	{unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE"},
	{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
}

// capabilities returns those of privileges that the process has.
func capabilities() []string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return []string{err.Error()}
	}
	effective := uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
	names := []string{}
	for _, p := range privileges {
		if effective&(1<<p.bit) != 0 {
			names = append(names, p.name)
		}
	}
	slices.Sort(names)
	return names
}
