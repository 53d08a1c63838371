package kmeshreceiver

import (
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"

	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// Config is what users write under `receivers: kmesh:`. README.md describes each key.
type Config struct {
	metadata.MetricsBuilderConfig `mapstructure:",squash"`

	// CollectionInterval is how often the counters are flushed.
	CollectionInterval time.Duration `mapstructure:"collection_interval"`
	// NodeName is service.instance.id; empty: K8S_NODE_NAME of the environment, else the host's name.
	NodeName string `mapstructure:"node_name"`

	ServiceMetrics    SetConfig           `mapstructure:"service_metrics"`
	WorkloadMetrics   SetConfig           `mapstructure:"workload_metrics"`
	ConnectionMetrics ConnectionSetConfig `mapstructure:"connection_metrics"`

	AccessLog AccessLogConfig `mapstructure:"access_log"`
	Identity  IdentityConfig  `mapstructure:"identity"`

	// ConnectionSecurityPolicy is the label's value: `auto`, or a constant.
	ConnectionSecurityPolicy string `mapstructure:"connection_security_policy"`
	// Scope is `known`, `all`, or empty: what fits the source of identities.
	Scope           string `mapstructure:"scope"`
	IncludeLoopback bool   `mapstructure:"include_loopback"`
	// AggregationCardinalityLimit bounds the series of each set.
	AggregationCardinalityLimit int `mapstructure:"aggregation_cardinality_limit"`
	// SeriesExpiration is how long a series may rest before it is ended.
	SeriesExpiration time.Duration `mapstructure:"series_expiration"`
	// CgroupPath is the cgroup v2 folder to attach to; empty: the mount that is there.
	CgroupPath string `mapstructure:"cgroup_path"`
	// ErrorMode is what a failed start does to the collector: `propagate` or `ignore`.
	ErrorMode string `mapstructure:"error_mode"`
}

// SetConfig switches a set of metrics on or off.
type SetConfig struct {
	Enabled bool `mapstructure:"enabled"`
}

// ConnectionSetConfig is that of the metrics per connection.
type ConnectionSetConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// MinDuration is how old a connection must be to have series of its own.
	MinDuration time.Duration `mapstructure:"min_duration"`
}

// AccessLogConfig tells which events become log records.
type AccessLogConfig struct {
	// Events are of closed, failed, opened, periodic.
	Events []string `mapstructure:"events"`
	// Period is that of `periodic`.
	Period time.Duration `mapstructure:"period"`
}

// IdentityConfig tells where the names of the ends come from.
type IdentityConfig struct {
	// Source is auto, kubernetes, istio, file or host.
	Source     string           `mapstructure:"source"`
	File       FileConfig       `mapstructure:"file"`
	Kubernetes KubernetesConfig `mapstructure:"kubernetes"`
	Istio      IstioConfig      `mapstructure:"istio"`
	// Settle is how long a record waits for an identity that is not known yet.
	Settle time.Duration `mapstructure:"settle"`
	// Retain is how long a removed workload still answers for its last connections.
	Retain time.Duration `mapstructure:"retain"`
	// Networks name ends that no workload has.
	Networks []NetworkConfig `mapstructure:"networks"`
	// UnknownDestinationsLimit bounds the addresses in labels of ends that nobody is known to have; 0: none.
	UnknownDestinationsLimit int `mapstructure:"unknown_destinations_limit"`
}

// NetworkConfig is a name for ranges of addresses.
type NetworkConfig struct {
	Name  string   `mapstructure:"name"`
	CIDRs []string `mapstructure:"cidrs"`
}

// FileConfig is that of the source `file`.
type FileConfig struct {
	Path string `mapstructure:"path"`
}

// KubernetesConfig is that of the source `kubernetes`.
type KubernetesConfig struct {
	// AuthType is serviceAccount, kubeConfig or none, as in other receivers.
	AuthType string `mapstructure:"auth_type"`
	// Context is the kubeconfig's context; empty: its current one.
	Context string `mapstructure:"context"`
	// ClusterID is what the labels call the cluster.
	ClusterID string `mapstructure:"cluster_id"`
	// ClusterDomain is what the host names of services end with.
	ClusterDomain string `mapstructure:"cluster_domain"`
	// TrustDomain is that of the principals; empty: there are none.
	TrustDomain string `mapstructure:"trust_domain"`
}

// IstioConfig is that of the source `istio`.
type IstioConfig struct {
	Endpoint string                 `mapstructure:"endpoint"`
	TLS      configtls.ClientConfig `mapstructure:"tls"`
	// TokenFile holds the token that is shown to istiod; empty: that of Istio's own proxies, where it is mounted.
	TokenFile string `mapstructure:"token_file"`
	// ClusterID is what istiod calls the cluster.
	ClusterID string `mapstructure:"cluster_id"`
	// TrustDomain is that of the principals of which istiod does not tell one; empty: they are not known.
	TrustDomain string `mapstructure:"trust_domain"`
	// Network is the one that the node is in; empty: that of the workloads on it.
	Network string `mapstructure:"network"`
}

// The values of the keys that take one of few.
const (
	sourceAuto       = "auto"
	sourceKubernetes = "kubernetes"
	sourceIstio      = "istio"
	sourceFile       = "file"
	sourceHost       = "host"

	scopeKnown = "known"
	scopeAll   = "all"

	errorModePropagate = "propagate"
	errorModeIgnore    = "ignore"

	eventClosed   = "closed"
	eventFailed   = "failed"
	eventOpened   = "opened"
	eventPeriodic = "periodic"
)

func createDefaultConfig() component.Config {
	return &Config{
		MetricsBuilderConfig: metadata.NewDefaultMetricsBuilderConfig(),
		CollectionInterval:   5 * time.Second,
		ServiceMetrics:       SetConfig{Enabled: true},
		ConnectionMetrics:    ConnectionSetConfig{MinDuration: 5 * time.Second},
		AccessLog:            AccessLogConfig{Events: []string{eventClosed, eventFailed}, Period: 5 * time.Second},
		Identity: IdentityConfig{
			Source:     sourceAuto,
			File:       FileConfig{Path: "identity.yaml"},
			Kubernetes: KubernetesConfig{AuthType: "serviceAccount", ClusterID: "Kubernetes", ClusterDomain: "cluster.local"},
			Istio: IstioConfig{
				Endpoint:  "istiod.istio-system.svc:15012",
				TLS:       configtls.NewDefaultClientConfig(),
				ClusterID: "Kubernetes",
			},
			Settle: 5 * time.Second,
			Retain: time.Minute,

			UnknownDestinationsLimit: 1000,
		},
		ConnectionSecurityPolicy:    "auto",
		AggregationCardinalityLimit: 50_000,
		SeriesExpiration:            10 * time.Minute,
		ErrorMode:                   errorModePropagate,
	}
}

// Unmarshal reads the sets' switches first: they decide the defaults of the single
// metrics, which `metrics:` then overrides one by one.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	switches := struct {
		Service    SetConfig           `mapstructure:"service_metrics"`
		Workload   SetConfig           `mapstructure:"workload_metrics"`
		Connection ConnectionSetConfig `mapstructure:"connection_metrics"`
	}{c.ServiceMetrics, c.WorkloadMetrics, c.ConnectionMetrics}
	if err := conf.Unmarshal(&switches, confmap.WithIgnoreUnused()); err != nil {
		return err
	}
	on := map[set]bool{
		serviceSet:    switches.Service.Enabled,
		workloadSet:   switches.Workload.Enabled,
		connectionSet: switches.Connection.Enabled,
	}
	for name, enabled := range switchesOf(&c.Metrics) {
		*enabled = on[setOf(name)]
	}
	return conf.Unmarshal(c)
}
