// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
)

// Translation is where NAT sends the packets of connections, e.g. to the pod behind a service's address.
type Translation interface {
	naming.Translator
	Stats() conntrack.Stats
	Close() error
}

// newTranslation opens the kernel's table if the source knows services. It returns nil where the table cannot be opened: a
// client of a service's address then shows the service, and no pod.
func newTranslation(s *Settings, open func(*zap.Logger) (Translation, error)) Translation {
	if !s.Identity.Source.Capabilities().Services {
		return nil
	}
	t, err := open(s.Logger)
	if err != nil {
		s.Logger.Warn("cannot query connection tracking: where kube-proxy rewrites a service's address, only the far end's record has the pod; "+
			"it needs CAP_NET_ADMIN, the kernel's modules nf_conntrack and nf_conntrack_netlink, and the host's network (hostNetwork: true)",
			zap.Error(err))
		return nil
	}
	return t
}
