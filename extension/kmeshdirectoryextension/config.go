// SPDX-License-Identifier: Apache-2.0

package kmeshdirectoryextension

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/configoptional"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
)

// Config is what users write under `extensions: kmesh_directory:`. README.md describes each key.
type Config struct {
	// ServerConfig is where agents connect to, with TLS and authentication.
	configgrpc.ServerConfig `mapstructure:",squash"`

	// Kubernetes is the cluster that is watched, as the source `kubernetes` of the receiver kmesh has it.
	Kubernetes kubernetes.Config `mapstructure:"kubernetes"`
	// MaxAddresses bounds what one agent may be subscribed to.
	MaxAddresses int `mapstructure:"max_addresses"`
}

const defaultEndpoint = "localhost:15010"

func createDefaultConfig() component.Config {
	server := configgrpc.NewDefaultServerConfig()
	server.NetAddr.Endpoint = defaultEndpoint
	server.MaxRecvMsgSizeMiB = 16 // an agent that comes back sends all names and versions at once
	// Agents ping after 20 s without traffic; by default gRPC sends such clients away.
	alive := configgrpc.NewDefaultKeepaliveServerConfig()
	policy := configgrpc.NewDefaultKeepaliveEnforcementPolicy()
	policy.MinTime, policy.PermitWithoutStream = 10*time.Second, true
	alive.EnforcementPolicy = configoptional.Some(policy)
	parameters := configgrpc.NewDefaultKeepaliveServerParameters()
	parameters.Time, parameters.Timeout = 30*time.Second, 10*time.Second
	alive.ServerParameters = configoptional.Some(parameters)
	server.Keepalive = configoptional.Some(alive)
	return &Config{ServerConfig: server, Kubernetes: *kubernetes.NewDefaultConfig(), MaxAddresses: 100_000}
}

// Validate reports everything that is wrong, each with its key and the remedy.
func (c *Config) Validate() error {
	var errs []error
	if c.NetAddr.Endpoint == "" {
		errs = append(errs, errors.New("endpoint is empty: write where agents connect to, e.g. 0.0.0.0:15010"))
	}
	if c.MaxAddresses < 1 {
		errs = append(errs, fmt.Errorf("max_addresses is %d: it must be at least 1, e.g. 100000", c.MaxAddresses))
	}
	return errors.Join(append(errs, here(c.Kubernetes.Validate()))...)
}

// here names the keys of this configuration in an error of the source `kubernetes`; nil stays nil.
func here(err error) error {
	if err == nil {
		return nil
	}
	return &ownKeys{err}
}

type ownKeys struct{ error }

func (e *ownKeys) Error() string {
	return strings.ReplaceAll(e.error.Error(), "identity.kubernetes.", "kubernetes.")
}
func (e *ownKeys) Unwrap() error { return e.error }
