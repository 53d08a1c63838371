// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
)

const (
	defaultEndpoint   = "127.0.0.1:9465"
	defaultWindow     = 5 * time.Minute
	defaultMaxNodes   = 2000
	defaultMaxViewers = 50

	minWindow = time.Minute
	maxWindow = time.Hour
	mostNodes = 20_000
)

// Config is the exporter's configuration.
type Config struct {
	// ServerConfig is where and how the page is served.
	confighttp.ServerConfig `mapstructure:",squash"`

	// Window is how long an edge without traffic stays, and how far back the charts go.
	Window time.Duration `mapstructure:"window"`
	// MaxNodes is how many nodes are drawn. With more, the nodes of the largest namespaces are drawn as one.
	MaxNodes int `mapstructure:"max_nodes"`
	// MaxViewers is how many pages may be open at a time.
	MaxViewers int `mapstructure:"max_viewers"`
}

func createDefaultConfig() component.Config {
	server := confighttp.NewDefaultServerConfig()
	server.NetAddr.Endpoint = defaultEndpoint
	return &Config{ServerConfig: server, Window: defaultWindow, MaxNodes: defaultMaxNodes, MaxViewers: defaultMaxViewers}
}

// Validate implements xconfmap.Validator.
func (c *Config) Validate() error {
	var errs error
	if c.NetAddr.Endpoint == "" {
		errs = errors.Join(errs, errors.New("endpoint is empty: write where the page is served, e.g. "+defaultEndpoint))
	}
	if c.Window < minWindow || c.Window > maxWindow {
		errs = errors.Join(errs, fmt.Errorf("window is %v: it must be %v to %v", c.Window, minWindow, maxWindow))
	}
	if c.MaxNodes < 1 || c.MaxNodes > mostNodes {
		errs = errors.Join(errs, fmt.Errorf("max_nodes is %d: it must be 1 to %d", c.MaxNodes, mostNodes))
	}
	if c.MaxViewers < 1 {
		errs = errors.Join(errs, fmt.Errorf("max_viewers is %d: it must be at least 1", c.MaxViewers))
	}
	return errs
}
