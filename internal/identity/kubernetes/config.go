// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"errors"
	"fmt"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Config is the configuration of the source `kubernetes`.
type Config struct {
	// AuthType is AuthServiceAccount, AuthKubeConfig or AuthNone.
	AuthType string `mapstructure:"auth_type"`
	// Context is the kubeconfig's context; empty: its current one.
	Context string `mapstructure:"context"`
	// ClusterID is the value of the labels for the cluster.
	ClusterID string `mapstructure:"cluster_id"`
	// ClusterDomain is the end of the host names of services.
	ClusterDomain string `mapstructure:"cluster_domain"`
	// TrustDomain is the one of the principals; empty: there are none.
	TrustDomain string `mapstructure:"trust_domain"`
}

// How the source authenticates, spelled as in other receivers.
const (
	AuthServiceAccount = "serviceAccount" // with the pod's own token
	AuthKubeConfig     = "kubeConfig"     // as $KUBECONFIG says, else ~/.kube/config
	AuthNone           = "none"           // not at all, at the API server of the environment, whose certificate is not verified
)

// NewDefaultConfig returns the configuration that applies where the user writes none.
func NewDefaultConfig() *Config {
	return &Config{AuthType: AuthServiceAccount, ClusterID: "Kubernetes", ClusterDomain: "cluster.local"}
}

// Validate implements identity.SourceConfig.
func (c *Config) Validate() error {
	var errs []error
	switch c.AuthType {
	case AuthServiceAccount, AuthKubeConfig, AuthNone:
	default:
		errs = append(errs, fmt.Errorf("identity.kubernetes.auth_type is %q: it must be one of %s, %s, %s",
			c.AuthType, AuthServiceAccount, AuthKubeConfig, AuthNone))
	}
	if c.ClusterID == "" {
		errs = append(errs, errors.New("identity.kubernetes.cluster_id is empty: write the value of the labels for the cluster, e.g. Kubernetes"))
	}
	if c.ClusterDomain == "" {
		errs = append(errs, errors.New("identity.kubernetes.cluster_domain is empty: write the end of the names of services, e.g. cluster.local"))
	}
	return errors.Join(errs...)
}

// Capabilities implements identity.SourceConfig.
func (*Config) Capabilities() identity.Capabilities {
	return identity.Capabilities{Services: true, Cgroups: true, Lists: true}
}

// NewSource implements identity.SourceConfig.
func (c *Config) NewSource(settings identity.SourceSettings) (identity.Source, error) {
	source, err := New(c, settings)
	if err != nil {
		return nil, err
	}
	return source, nil
}
