//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/cgroup"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// identitySource is what every source of identities can do.
type identitySource interface {
	identity.Resolver
	Start(context.Context) error
	Close() error
	Held() identity.Held
	InSync() bool
}

const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path, no secret

// sourceName tells which source is meant: `auto` is kubernetes in a pod that has a
// service account, else host.
func (c *IdentityConfig) sourceName() string {
	if c.Source != sourceAuto {
		return c.Source
	}
	if _, err := os.Stat(serviceAccountToken); err == nil && os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return sourceKubernetes
	}
	return sourceHost
}

// newSource makes the source that the configuration names; onStatus hears when it
// fails later, and when it is well again.
func newSource(c *IdentityConfig, cgroupPath, hostName string, logger *zap.Logger, onStatus func(error)) (identitySource, error) {
	switch name := c.sourceName(); name {
	case sourceFile:
		return file.New(file.Settings{Path: c.File.Path, Retain: c.Retain, Logger: logger, OnStatus: onStatus})
	case sourceHost:
		return host.New(host.Settings{Name: hostName})
	case sourceKubernetes:
		settings := kubernetes.Settings{
			AuthType: c.Kubernetes.AuthType, Context: c.Kubernetes.Context,
			ClusterID: c.Kubernetes.ClusterID, ClusterDomain: c.Kubernetes.ClusterDomain, TrustDomain: c.Kubernetes.TrustDomain,
			Retain: c.Retain, Logger: logger, OnStatus: onStatus,
		}
		tree := openCgroups(cgroupPath, logger)
		if tree != nil {
			settings.Locator = tree
		}
		source, err := kubernetes.New(settings)
		if err != nil && tree != nil {
			return nil, errors.Join(err, tree.Close())
		}
		return source, err
	case sourceIstio:
		return istio.New(istio.Settings{
			Endpoint: c.Istio.Endpoint, TLS: c.Istio.tls, TokenFile: c.Istio.TokenFile,
			ClusterID: c.Istio.ClusterID, TrustDomain: c.Istio.TrustDomain, Network: c.Istio.Network,
			NodeName: os.Getenv("K8S_NODE_NAME"), Retain: c.Retain, Logger: logger, OnStatus: onStatus,
		})
	default:
		return nil, fmt.Errorf("identity.source %q is not known", name) // Validate told so
	}
}

// namesProcesses says whether the process at an end can decide who the end is.
func (c *IdentityConfig) namesProcesses() bool {
	switch c.sourceName() {
	case sourceHost:
		return true
	case sourceKubernetes:
		return cgroup.ByProcess()
	}
	return false
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

// meshRoot is where Istio's own proxies have the certificate that istiod's is signed with.
const meshRoot = "/var/run/secrets/istio/root-cert.pem"

// tls gives the settings of the next connection to istiod; nil: plain text.  istiod's certificate is the mesh's own, which
// is not among the system's.
func (c *IstioConfig) tls() (*tls.Config, error) {
	settings := c.TLS
	if settings.CAFile == "" && settings.CAPem == "" && !settings.Insecure && !settings.InsecureSkipVerify {
		if _, err := os.Stat(meshRoot); err == nil {
			settings.CAFile = meshRoot
		}
	}
	return settings.LoadTLSConfig(context.Background())
}

// scope gives what is counted: a host's processes talk to anybody, a mesh's workloads
// are what its users asked about.
func (c *Config) scope() flow.Scope {
	switch {
	case c.Scope == scopeAll:
		return flow.ScopeAll
	case c.Scope == scopeKnown:
		return flow.ScopeKnown
	case c.Identity.sourceName() == sourceHost:
		return flow.ScopeAll
	default:
		return flow.ScopeKnown
	}
}
