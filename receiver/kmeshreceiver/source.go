//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"os"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/cgroup"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// newSource makes the source that the configuration selects; onStatus gets its errors, and nil when it recovers.
func newSource(c *IdentityConfig, cgroupPath, hostName string, logger *zap.Logger, onStatus func(error)) (identity.Source, error) {
	return c.source().NewSource(identity.SourceSettings{
		HostName: hostName, NodeName: os.Getenv("K8S_NODE_NAME"), Retain: c.Retain, Logger: logger, OnStatus: onStatus,
		OpenLocator: func() identity.LocatorCloser {
			if tree := openCgroups(cgroupPath, logger); tree != nil {
				return tree
			}
			return nil
		},
	})
}

// namesProcesses says whether the process at an end can decide who the end is.
func (c *IdentityConfig) namesProcesses() bool {
	can := c.source().Capabilities()
	return can.Processes || can.Cgroups && cgroup.ByProcess()
}

// openCgroups watches the cgroups that tell pods on the host's network apart; nil: nothing
// but their address does.
func openCgroups(path string, logger *zap.Logger) *cgroup.Tree {
	root, err := probe.CgroupRoot(path)
	var tree *cgroup.Tree
	if err == nil {
		tree, err = cgroup.Open(root)
	}
	if err != nil {
		logger.Warn("pods on the host's network cannot all be told apart: mount the host's /sys/fs/cgroup, and name it in cgroup_path",
			zap.Error(err), zap.String("cgroup_path", root))
	}
	return tree
}

// scope gives what is counted: a host's processes talk to anybody, a mesh's workloads
// are what its users asked about.
func (c *Config) scope() flow.Scope {
	switch {
	case c.Scope == scopeAll:
		return flow.ScopeAll
	case c.Scope == scopeKnown:
		return flow.ScopeKnown
	case c.Identity.source().Capabilities().Services:
		return flow.ScopeKnown
	default:
		return flow.ScopeAll
	}
}
