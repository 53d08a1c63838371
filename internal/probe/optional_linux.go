// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

// Part is something that the probe can do without. Only the program on the tracepoint
// inet_sock_set_state is not one.
type Part struct {
	Name  string // as in docs/kernels.md
	Since string // the first kernel that has what it needs
	Loss  string // what is not reported without it
}

// The optional parts.
var (
	partDestroy = Part{
		Name: "destroy_sock", Since: "5.15",
		Loss: "closes that a soft interrupt makes while set_state runs; and a connect that fails before its SYN " +
			"takes room until its socket's memory is used again",
	}
	partWalk = Part{
		Name: "walk", Since: "5.15",
		Loss: "figures of open connections: their bytes are reported when they close",
	}
	partOlder = Part{
		Name: "older_sockets", Since: "5.15",
		Loss: "connections that were open before the collector started",
	}
	partScan = Part{
		Name: "scan_sockets", Since: "6.1",
		Loss: "older connections that no process's file leads to; " +
			"and connections that were accepted while set_state ran, or found no room",
	}
	partConnect4 = Part{
		Name: "connect4", Since: "5.15",
		Loss: "the original destination of IPv4 connections, where a program rewrites it at connect",
	}
	partConnect6 = Part{
		Name: "connect6", Since: "5.15",
		Loss: "the original destination of IPv6 connections, where a program rewrites it at connect",
	}
	partRedirect = Part{
		Name: "original_destination", Since: "5.15",
		Loss: "the port that clients of a sidecar's pod asked for, at the server's end, where no end on this node knows it",
	}
	partAccepted = Part{
		Name: "accepted", Since: "5.15",
		Loss: "which process accepted a connection, where that is not the one that listens",
	}
	partHandedOver = Part{
		Name: "handed_over", Since: "5.15",
		Loss: "which program inetd or systemd started for a connection",
	}
	partListeners = Part{
		Name: "listeners", Since: "5.15",
		Loss: "the process of connections accepted from listeners that are newer than the collector",
	}
)

// These two are about where the collector runs, not about programs that the kernel may refuse.
var (
	partRoot = Part{
		Name: "cgroup_root", Since: "5.15",
		Loss: "the original destination of connections of processes outside that cgroup, where a program rewrites it at connect",
	}
	partLock = Part{
		Name: "list_locks", Since: "5.15",
		Loss: "whether another collector watches this node, in which case everything is counted twice",
	}
)

// parts are all optional programs.
var parts = []Part{partDestroy, partWalk, partOlder, partScan, partConnect4, partConnect6, partListeners, partRedirect, partAccepted, partHandedOver}

// Missing is an optional part that could not be had, and why.
type Missing struct {
	Part
	Err error
}

// Missing returns the optional parts that this probe runs without.
func (p *Probe) Missing() []Missing { return p.missing }

func (p *Probe) lacks(part Part, err error) {
	p.missing = append(p.missing, Missing{part, err})
}
