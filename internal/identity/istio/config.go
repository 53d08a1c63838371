// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/config/configtls"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Config is the configuration of the source `istio`.
type Config struct {
	// Endpoint is HOST:PORT of istiod.
	Endpoint string                 `mapstructure:"endpoint"`
	TLS      configtls.ClientConfig `mapstructure:"tls"`
	// TokenFile holds the service account's token. It is read for each connection, as the kubelet renews it. Empty: tokenPath
	// where that exists and the connection is encrypted, else none.
	TokenFile string `mapstructure:"token_file"`
	// ClusterID is the cluster's ID in istiod.
	ClusterID string `mapstructure:"cluster_id"`
	// TrustDomain is the one of principals whose workload has none in istiod; empty: they are unknown.
	TrustDomain string `mapstructure:"trust_domain"`
	// Network is the node's; empty: the one of the workloads on it.
	Network string `mapstructure:"network"`
	// OnDemand asks for addresses when connections meet them, instead of subscribing to all of the mesh.
	OnDemand bool `mapstructure:"on_demand"`
	// MaxAddresses bounds the addresses that are held with OnDemand, beside those of the node's own pods.
	MaxAddresses int `mapstructure:"max_addresses"`
}

// mostAddresses is the highest MaxAddresses: all names must fit into one request.
const mostAddresses = 100_000

// Where Istio's own proxies have their service account's token, and the root of istiod's certificate.
const (
	tokenPath = "/var/run/secrets/tokens/istio-token" //nolint:gosec // a path, no secret
	rootPath  = "/var/run/secrets/istio/root-cert.pem"
)

// NewDefaultConfig returns the configuration that applies where the user writes none.
func NewDefaultConfig() *Config {
	return &Config{
		Endpoint:  "istiod.istio-system.svc:15012",
		TLS:       configtls.NewDefaultClientConfig(),
		ClusterID: "Kubernetes", MaxAddresses: 10_000,
	}
}

// Validate implements identity.SourceConfig.
func (c *Config) Validate() error {
	var errs []error
	if c.Endpoint == "" {
		errs = append(errs, errors.New("identity.istio.endpoint is empty: write HOST:PORT of istiod, e.g. istiod.istio-system.svc:15012"))
	} else if err := checkEndpoint(c.Endpoint); err != nil {
		errs = append(errs, err)
	}
	if c.ClusterID == "" {
		errs = append(errs, errors.New("identity.istio.cluster_id is empty: write the cluster's id in istiod, e.g. Kubernetes"))
	}
	if c.OnDemand && (c.MaxAddresses < 1 || c.MaxAddresses > mostAddresses) {
		errs = append(errs, fmt.Errorf("identity.istio.max_addresses is %d: it must be 1 to %d, e.g. 10000", c.MaxAddresses, mostAddresses))
	}
	return errors.Join(errs...)
}

// CheckFiles implements identity.FilesConfig.
func (c *Config) CheckFiles() error {
	var errs []error
	for _, file := range []struct{ key, path string }{
		{"tls.ca_file", c.TLS.CAFile}, {"tls.cert_file", c.TLS.CertFile}, {"tls.key_file", c.TLS.KeyFile},
	} {
		if file.path == "" {
			continue
		}
		if _, err := os.Stat(file.path); err != nil {
			errs = append(errs, fmt.Errorf("identity.istio.%s: %w: mount it, or correct the path", file.key, err))
		}
	}
	return errors.Join(errs...)
}

// checkEndpoint takes a name or an address, and a port.
func checkEndpoint(endpoint string) error {
	host, port, err := net.SplitHostPort(endpoint)
	if err == nil {
		if number, failed := strconv.ParseUint(port, 10, 16); failed != nil || number == 0 || host == "" || strings.ContainsAny(host, "/ ") {
			err = errors.New("no host, or no port from 1 to 65535")
		}
	}
	if err != nil {
		return fmt.Errorf("identity.istio.endpoint is %q: write HOST:PORT of istiod, without a scheme, e.g. istiod.istio-system.svc:15012 (%w)", endpoint, err)
	}
	return nil
}

// Capabilities implements identity.SourceConfig.
func (c *Config) Capabilities() identity.Capabilities {
	return identity.Capabilities{Services: true, Lists: true, Cgroups: c.OnDemand}
}

// NewSource implements identity.SourceConfig.
func (c *Config) NewSource(settings identity.SourceSettings) (identity.Source, error) {
	return New(c, settings), nil
}

// loadTLS returns the settings of the next connection, so that files which change are read again; nil: plain text. istiod's
// certificate is signed by the mesh's own root, which is not among the system's.
func (c *Config) loadTLS() (*tls.Config, error) {
	settings := c.TLS
	if settings.CAFile == "" && settings.CAPem == "" && !settings.Insecure && !settings.InsecureSkipVerify && exists(rootPath) {
		settings.CAFile = rootPath
	}
	return settings.LoadTLSConfig(context.Background())
}
