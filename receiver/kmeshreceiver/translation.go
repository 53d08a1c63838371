//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// translation tells the pod behind a service's address.
type translation interface {
	flow.Translator
	Stats() conntrack.Stats
	Close() error
}

// openConntrack is how the kernel's table is opened; tests without a kernel put in their own.
var openConntrack = func(logger *zap.Logger) (translation, error) { return conntrack.Open(logger) }

// newTranslation opens the kernel's table where a source of identities knows services; nil: there is none, and a client of a
// service's address tells the service only.
func newTranslation(c *IdentityConfig, logger *zap.Logger) translation {
	if !c.source().Capabilities().Services {
		return nil
	}
	t, err := openConntrack(logger)
	if err != nil {
		logger.Warn("connection tracking cannot be asked: where kube-proxy rewrites a service's address, only the far end's record tells the pod; "+
			"it takes CAP_NET_ADMIN, the kernel's modules nf_conntrack and nf_conntrack_netlink, and the host's network (hostNetwork: true)",
			zap.Error(err))
		return nil
	}
	return t
}
