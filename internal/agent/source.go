// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"time"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/cgroup"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// longestSpread is the time over which the agents of all nodes begin to ask the API server, when they start together.
const longestSpread = 2 * time.Second

// newSource makes the source of identities, which is not started.
func newSource(s *Settings) (identity.Source, error) {
	return s.Identity.Source.NewSource(identity.SourceSettings{
		HostName: s.HostName, NodeName: s.NodeName, Retain: s.Identity.Retain, Settle: s.Identity.Settle, Logger: s.Logger,
		Spread:   min(longestSpread, s.Identity.Settle/2), // the first records wait for settle
		OnStatus: func(err error) { s.Status(partIdentity, err) },
		OpenLocator: func() identity.LocatorCloser {
			if tree := openCgroups(s.CgroupPath, s.Logger); tree != nil {
				return tree
			}
			return nil
		},
	})
}

// namesProcesses returns whether the source may need the process at an end.
func namesProcesses(can identity.Capabilities) bool {
	return can.Processes || can.Cgroups && cgroup.ByProcess()
}

// openCgroups watches the cgroups, which distinguish pods on the host's network; nil: only their ports do.
func openCgroups(path string, logger *zap.Logger) *cgroup.Tree {
	root, err := probe.CgroupRoot(path)
	var tree *cgroup.Tree
	if err == nil {
		tree, err = cgroup.Open(root)
	}
	if err != nil {
		logger.Warn("cannot distinguish all pods on the host's network: mount the host's /sys/fs/cgroup, and name it in cgroup_path",
			zap.Error(err), zap.String("cgroup_path", root))
	}
	return tree
}
