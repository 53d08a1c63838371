// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"errors"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// Config is what users write under `receivers: kmesh:`. README.md describes each key.
type Config struct {
	metadata.MetricsBuilderConfig `mapstructure:",squash"`
	SignalsConfig                 `mapstructure:",squash"`

	// CollectionInterval is how often the counters are flushed.
	CollectionInterval time.Duration `mapstructure:"collection_interval"`
	// NodeName is service.instance.id; empty: K8S_NODE_NAME of the environment, else the host's name.
	NodeName string `mapstructure:"node_name"`

	ServiceMetrics    SetConfig           `mapstructure:"service_metrics"`
	WorkloadMetrics   SetConfig           `mapstructure:"workload_metrics"`
	ConnectionMetrics ConnectionSetConfig `mapstructure:"connection_metrics"`
	IstioMetrics      SetConfig           `mapstructure:"istio_metrics"`
	LatencyMetrics    LatencySetConfig    `mapstructure:"latency_metrics"`

	Identity IdentityConfig `mapstructure:"identity"`

	// ConnectionSecurityPolicy is the label's value: `auto`, or a constant.
	ConnectionSecurityPolicy string `mapstructure:"connection_security_policy"`
	// Scope is `known`, `all`, or empty: what fits the source of identities.
	Scope           string `mapstructure:"scope"`
	IncludeLoopback bool   `mapstructure:"include_loopback"`
	// SidecarHops reports the connections between a workload and the proxy in its network namespace, too.
	SidecarHops bool `mapstructure:"sidecar_hops"`
	// Exclude are rules; a connection that one of them matches is not reported.
	Exclude []agent.ExcludeConfig `mapstructure:"exclude"`
	// AggregationCardinalityLimit bounds the series of each set.
	AggregationCardinalityLimit int `mapstructure:"aggregation_cardinality_limit"`
	// SeriesExpiration is how long a series may rest before it is ended.
	SeriesExpiration time.Duration `mapstructure:"series_expiration"`
	// InitialZero lets a series start with a point of value 0, so that Prometheus' rate() sees its first value.
	InitialZero bool `mapstructure:"initial_zero"`
	// FailureReasons puts why a connect failed into response_flags, in place of CONNECT.
	FailureReasons bool `mapstructure:"failure_reasons"`
	// MaxConnections bounds the connection ends that are followed at once.
	MaxConnections int `mapstructure:"max_connections"`
	// CgroupPath is the cgroup v2 folder to attach to; empty: the mount that is there.
	CgroupPath string `mapstructure:"cgroup_path"`
	// TraceSalt is a secret that all agents share, which trace ids are made with; empty: they are made without.
	TraceSalt configopaque.String `mapstructure:"trace_salt"`
	// ErrorMode is what a failed start does to the collector: `propagate` or `ignore`.
	ErrorMode string `mapstructure:"error_mode"`
}

// SetConfig switches a set of metrics on or off.
type SetConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Attributes are the labels that the set keeps; none: all.
	Attributes []string `mapstructure:"attributes"`
}

// ConnectionSetConfig is that of the metrics per connection.
type ConnectionSetConfig struct {
	SetConfig `mapstructure:",squash"`
	// MinDuration is how old a connection must be to have series of its own.
	MinDuration time.Duration `mapstructure:"min_duration"`
}

// LatencySetConfig is that of the histograms.
type LatencySetConfig struct {
	SetConfig `mapstructure:",squash"`
	// MaxSize is the most buckets of a histogram.
	MaxSize int `mapstructure:"max_size"`
}

// The values of error_mode.
const (
	errorModePropagate = "propagate"
	errorModeIgnore    = "ignore"
)

func createDefaultConfig() component.Config {
	return &Config{
		MetricsBuilderConfig: metadata.NewDefaultMetricsBuilderConfig(),
		SignalsConfig:        newDefaultSignalsConfig(),
		CollectionInterval:   5 * time.Second,
		ServiceMetrics:       SetConfig{Enabled: true},
		ConnectionMetrics:    ConnectionSetConfig{MinDuration: 5 * time.Second},
		LatencyMetrics:       LatencySetConfig{MaxSize: 80},
		Identity: IdentityConfig{
			Source:                   sources.Auto,
			Sources:                  sources.NewDefaultConfigs(),
			Settle:                   5 * time.Second,
			Retain:                   time.Minute,
			UnknownDestinationsLimit: 1000,
		},
		ConnectionSecurityPolicy:    "auto",
		AggregationCardinalityLimit: 50_000,
		SeriesExpiration:            10 * time.Minute,
		InitialZero:                 true,
		MaxConnections:              agent.DefaultMaxConnections,
		ErrorMode:                   errorModePropagate,
	}
}

// Unmarshal implements confmap.Unmarshaler. It reads the sets' switches first: they are the defaults of the single metrics,
// which `metrics:` overrides one by one.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	switches := struct {
		Service    SetConfig `mapstructure:"service_metrics"`
		Workload   SetConfig `mapstructure:"workload_metrics"`
		Connection SetConfig `mapstructure:"connection_metrics"`
		Istio      SetConfig `mapstructure:"istio_metrics"`
		Latency    SetConfig `mapstructure:"latency_metrics"`
	}{c.ServiceMetrics, c.WorkloadMetrics, c.ConnectionMetrics.SetConfig, c.IstioMetrics, c.LatencyMetrics.SetConfig}
	if err := conf.Unmarshal(&switches, confmap.WithIgnoreUnused()); err != nil {
		return err
	}
	on := map[series.Set]bool{
		series.Service:    switches.Service.Enabled,
		series.Workload:   switches.Workload.Enabled,
		series.Connection: switches.Connection.Enabled,
		series.Istio:      switches.Istio.Enabled,
		series.Latency:    switches.Latency.Enabled,
	}
	sets := metricSets()
	for name, enabled := range switchesOf(&c.Metrics) {
		*enabled = on[sets[name]]
	}
	return errors.Join(c.Identity.takeSections(conf), conf.Unmarshal(c))
}

// attributes are the labels that the user chose, by set.
func (c *Config) attributes() map[series.Set][]string {
	return map[series.Set][]string{
		series.Service:    c.ServiceMetrics.Attributes,
		series.Workload:   c.WorkloadMetrics.Attributes,
		series.Connection: c.ConnectionMetrics.Attributes,
		series.Istio:      c.IstioMetrics.Attributes,
		series.Latency:    c.LatencyMetrics.Attributes,
	}
}

// series returns the settings of the series.
func (c *Config) series() series.Settings {
	addresses := c.Identity.UnknownDestinationsLimit
	if addresses == 0 {
		addresses = -1 // 0 is the default of series
	}
	return series.Settings{
		Enabled:               c.enabledMetrics(),
		Attributes:            c.attributes(),
		FailureReasons:        c.FailureReasons,
		HistogramSize:         c.LatencyMetrics.MaxSize,
		SecurityPolicy:        c.ConnectionSecurityPolicy,
		ConnectionMinDuration: c.ConnectionMetrics.MinDuration,
		CardinalityLimit:      c.AggregationCardinalityLimit,
		UnknownAddresses:      addresses,
		Expiration:            c.SeriesExpiration,
		InitialZero:           c.InitialZero,
	}
}

// agentSettings are the part of the agent's settings that users configure.
func (c *Config) agentSettings() (agent.Settings, error) {
	networks, err := agent.NewNetworks(c.Identity.Networks)
	if err != nil {
		return agent.Settings{}, err // Validate reports it too
	}
	exclude, err := agent.NewExclude(c.Exclude)
	if err != nil {
		return agent.Settings{}, err // likewise
	}
	return agent.Settings{
		CollectionInterval: c.CollectionInterval,
		Identity: agent.IdentitySettings{
			Name:     sources.Select(c.Identity.Source),
			Source:   c.Identity.source(),
			Settle:   c.Identity.Settle,
			Retain:   c.Identity.Retain,
			Networks: networks,
		},
		Scope:           c.Scope,
		IncludeLoopback: c.IncludeLoopback,
		SidecarHops:     c.SidecarHops,
		Exclude:         exclude,
		MaxConnections:  c.MaxConnections,
		CgroupPath:      c.CgroupPath,
		TraceSalt:       string(c.TraceSalt),
	}, nil
}
