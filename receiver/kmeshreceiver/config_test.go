// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// fromFile reads a named configuration of testdata/config.yaml over the defaults.
func fromFile(t *testing.T, name string) (*Config, *confmap.Conf) {
	t.Helper()
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	require.Contains(t, all.ToStringMap(), name)
	conf, err := all.Sub(name)
	require.NoError(t, err)
	config := createDefaultConfig().(*Config)
	require.NoError(t, conf.Unmarshal(config))
	require.NoError(t, config.Validate())
	return config, conf
}

// withoutMetrics is the configuration less the switches of single metrics, which
// remember besides whether the user set them.
func withoutMetrics(c Config) Config {
	c.Metrics = metadata.MetricsConfig{}
	return c
}

// metricsOn lists the metrics that are on.
func metricsOn(c *Config) []string {
	return slices.Sorted(maps.Keys(c.enabledMetrics()))
}

var (
	serviceSetNames = []string{
		"kmesh.tcp.connections.closed", "kmesh.tcp.connections.opened", "kmesh.tcp.conntections.failed",
		"kmesh.tcp.received", "kmesh.tcp.sent",
	}
	workloadSetNames = []string{
		"kmesh.tcp.packet_loss", "kmesh.tcp.retrans",
		"kmesh.tcp.workload.connections.closed", "kmesh.tcp.workload.connections.opened",
		"kmesh.tcp.workload.conntections.failed", "kmesh.tcp.workload.received", "kmesh.tcp.workload.sent",
	}
	latencySetNames = []string{
		"kmesh.tcp.connect.duration", "kmesh.tcp.connection.duration", "kmesh.tcp.connections.active", "kmesh.tcp.rtt",
	}
	istioSetNames = []string{
		"istio.tcp.connections.closed", "istio.tcp.connections.failed", "istio.tcp.connections.opened",
		"istio.tcp.received.bytes", "istio.tcp.sent.bytes",
	}
	connectionSetNames = []string{
		"kmesh.tcp.connection.packet_lost", "kmesh.tcp.connection.received",
		"kmesh.tcp.connection.retrans", "kmesh.tcp.connection.sent",
	}
)

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == name })
}

func sorted(sets ...[]string) []string {
	return slices.Sorted(slices.Values(slices.Concat(sets...)))
}

func TestTheDefaultsAreTheContracts(t *testing.T) {
	want := Config{
		CollectionInterval: 5 * time.Second,
		NodeName:           "",
		ServiceMetrics:     SetConfig{Enabled: true},
		WorkloadMetrics:    SetConfig{Enabled: false},
		ConnectionMetrics:  ConnectionSetConfig{MinDuration: 5 * time.Second},
		LatencyMetrics:     LatencySetConfig{MaxSize: 80},
		SignalsConfig:      SignalsConfig{AccessLog: accesslog.Config{Events: []string{"closed", "failed"}, Period: 5 * time.Second, Body: true, QueueLimitMiB: 32}},
		Identity: IdentityConfig{
			Source: "auto",
			Sources: map[string]identity.SourceConfig{
				"file":       &file.Config{Path: "identity.yaml"},
				"host":       &host.Config{},
				"kubernetes": &kubernetes.Config{AuthType: "serviceAccount", ClusterID: "Kubernetes", ClusterDomain: "cluster.local"},
				"istio": &istio.Config{
					Endpoint:  "istiod.istio-system.svc:15012",
					TLS:       configtls.NewDefaultClientConfig(),
					ClusterID: "Kubernetes", MaxAddresses: 10_000,
				},
			},
			Settle: 5 * time.Second,
			Retain: 60 * time.Second,

			UnknownDestinationsLimit: 1000,
		},
		ConnectionSecurityPolicy:    "auto",
		AggregationCardinalityLimit: 50000,
		SeriesExpiration:            10 * time.Minute,
		InitialZero:                 true,
		MaxConnections:              262_144,
		ErrorMode:                   "propagate",
	}
	want.ResourceAttributes = metadata.DefaultResourceAttributesConfig()

	empty, _ := fromFile(t, "kmesh")
	for name, config := range map[string]*Config{"created": createDefaultConfig().(*Config), "an empty entry": empty} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, config.Validate())
			assert.Equal(t, want, withoutMetrics(*config))
			assert.Equal(t, serviceSetNames, metricsOn(config))
			assert.True(t, config.ResourceAttributes.ServiceName.Enabled)
			assert.True(t, config.ResourceAttributes.ServiceInstanceID.Enabled)
			assert.True(t, config.ResourceAttributes.HostName.Enabled)
			assert.True(t, config.ResourceAttributes.K8sNodeName.Enabled)
		})
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	config, conf := fromFile(t, "kmesh/all")
	tls := configtls.NewDefaultClientConfig()
	tls.CAFile = "/var/run/secrets/istio/root-cert.pem"
	tls.ServerName = "istiod"
	want := Config{
		CollectionInterval: 7 * time.Second,
		NodeName:           "node-1",
		ServiceMetrics:     SetConfig{Enabled: false, Attributes: []string{"source_app"}},
		WorkloadMetrics:    SetConfig{Enabled: true, Attributes: []string{"reporter", "source_workload", "destination_pod_name"}},
		ConnectionMetrics: ConnectionSetConfig{SetConfig: SetConfig{Enabled: true, Attributes: []string{
			"reporter", "start_time", "source_address", "destination_address"}}, MinDuration: time.Minute},
		LatencyMetrics: LatencySetConfig{SetConfig: SetConfig{Attributes: []string{"reporter"}}, MaxSize: 160},
		IstioMetrics:   SetConfig{Attributes: []string{"source_workload"}},
		FailureReasons: true,
		SignalsConfig:  SignalsConfig{AccessLog: accesslog.Config{Events: []string{"opened"}, Period: 30 * time.Second, Aggregate: 20 * time.Second, TCPInfo: true, QueueLimitMiB: 8}},
		Identity: IdentityConfig{
			Source: "file",
			Sources: map[string]identity.SourceConfig{
				"file": &file.Config{Path: "/etc/kmesh/identity.yaml"},
				"host": &host.Config{},
				"kubernetes": &kubernetes.Config{
					AuthType: "kubeConfig", Context: "kind",
					ClusterID: "west", ClusterDomain: "corp.example", TrustDomain: "mesh.example",
				},
				"istio": &istio.Config{
					Endpoint: "istiod.mesh.svc:15012", TLS: tls,
					TokenFile: "/var/run/secrets/tokens/istio-token", ClusterID: "east",
					TrustDomain: "mesh.example", Network: "network-1", OnDemand: true, MaxAddresses: 2000,
				},
			},
			Settle: 2 * time.Second,
			Retain: 3 * time.Minute,
			Networks: []agent.NetworkConfig{
				{Name: "corp", CIDRs: []string{"10.0.0.0/8", "2001:db8::/32"}}, {Name: "office", CIDRs: []string{"10.7.0.0/16"}},
			},
			UnknownDestinationsLimit: 50,
		},
		ConnectionSecurityPolicy: "mutual_tls",
		Scope:                    "all",
		IncludeLoopback:          true,
		SidecarHops:              true,
		Exclude: []agent.ExcludeConfig{
			{CIDRs: []string{"169.254.0.0/16", "fe80::/10"}, Ports: []int{53, 5353}, Direction: "outbound"},
			{Namespaces: []string{"kube-system"}, Workloads: []string{"prometheus"}},
		},
		AggregationCardinalityLimit: 1000,
		SeriesExpiration:            time.Hour,
		MaxConnections:              1_000_000,
		CgroupPath:                  "/host/sys/fs/cgroup",
		TraceSalt:                   "correct horse battery staple",
		ErrorMode:                   "ignore",
	}
	want.ResourceAttributes = config.ResourceAttributes // it remembers what was set
	assert.Equal(t, want, withoutMetrics(*config))
	assert.False(t, config.ResourceAttributes.HostName.Enabled)
	assert.True(t, config.ResourceAttributes.ServiceName.Enabled)
	assert.True(t, config.ResourceAttributes.ServiceInstanceID.Enabled)
	assert.True(t, config.ResourceAttributes.K8sNodeName.Enabled)
	assert.Equal(t, sorted(connectionSetNames, without(workloadSetNames, "kmesh.tcp.retrans")), metricsOn(config))

	// A key that is added must be added to the file too.
	keys := confmap.New()
	require.NoError(t, keys.Marshal(createDefaultConfig()))
	for _, key := range keys.AllKeys() {
		parent, _, _ := strings.Cut(key, confmap.KeyDelimiter)
		if parent == "metrics" || parent == "resource_attributes" || strings.HasPrefix(key, "identity::istio::tls::") {
			continue // one of each stands for all
		}
		assert.True(t, conf.IsSet(key), "testdata/config.yaml has no %s", key)
	}
}

func TestSetsDecideAndSingleMetricsOverride(t *testing.T) {
	for name, want := range map[string][]string{
		"kmesh/workload_but_one": sorted(serviceSetNames, without(workloadSetNames, "kmesh.tcp.packet_loss")),
		"kmesh/one_of_workload":  sorted(serviceSetNames, []string{"kmesh.tcp.workload.sent"}),
		"kmesh/no_service":       nil,
		"kmesh/one_of_service":   {"kmesh.tcp.conntections.failed"},
		"kmesh/istio":            istioSetNames,
		"kmesh/latency":          sorted(serviceSetNames, latencySetNames),
		"kmesh/connection":       sorted(serviceSetNames, connectionSetNames),
	} {
		t.Run(name, func(t *testing.T) {
			config, _ := fromFile(t, name)
			assert.Equal(t, want, metricsOn(config))
		})
	}
}

func TestASetIsOnWhenOneOfItsMetricsIs(t *testing.T) {
	config, _ := fromFile(t, "kmesh/one_of_workload")
	assert.Equal(t, map[series.Set]bool{series.Service: true, series.Workload: true}, setsOn(config.Metrics))
	config, _ = fromFile(t, "kmesh/no_service")
	assert.Empty(t, setsOn(config.Metrics))
}

// setsOn lists the sets of which a metric is on.
func setsOn(metrics metadata.MetricsConfig) map[series.Set]bool {
	on := make(map[series.Set]bool)
	for name := range enabledMetrics(metrics) {
		on[metricSets()[name]] = true
	}
	return on
}

// load reads a configuration that is given as YAML.
func load(t *testing.T, yaml string) (*Config, error) {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	config := createDefaultConfig().(*Config)
	if err := conf.Unmarshal(config); err != nil {
		return nil, err
	}
	return config, config.Validate()
}

func TestAWrongConfigurationNamesTheKeyAndTheRemedy(t *testing.T) {
	for _, test := range []struct {
		yaml string
		want []string // all of them in one error
	}{
		{"collection_interval: often", []string{"'collection_interval' time: invalid duration"}},
		{"collection_interval: 0s", []string{"collection_interval is 0s: it must be at least 100ms"}},
		{"collection_interval: 5", []string{"collection_interval is 5ns: write a unit, e.g. 5s"}},
		{"collection_interval: -5s", []string{"collection_interval is -5s: it must be at least 100ms"}},
		{"collection_interval: 5000", []string{"collection_interval is 5µs: write a unit, e.g. 5000s"}},
		{"collection_interval: 2h", []string{"collection_interval is 2h0m0s: it must be at most 1h0m0s"}},
		{"connection_metrics: {min_duration: 5}", []string{"connection_metrics.min_duration is 5ns: write a unit, e.g. 5s"}},
		{"connection_metrics: {min_duration: 200h}", []string{"connection_metrics.min_duration is 200h0m0s: it must be at most 168h0m0s"}},
		{"access_log: {period: 30}", []string{"access_log.period is 30ns: write a unit, e.g. 30s"}},
		{"access_log: {events: [closed, failed, closed]}", []string{`access_log.events has "closed" twice`}},
		{"identity: {settle: 5}", []string{"identity.settle is 5ns: write a unit, e.g. 5s"}},
		{"identity: {retain: 60}", []string{"identity.retain is 60ns: write a unit, e.g. 60s"}},
		{"identity: {retain: 24h}", []string{"identity.retain is 24h0m0s: it must be at most 10m0s"}},
		{"identity: {unknown_destinations_limit: 1000000}", []string{"identity.unknown_destinations_limit is 1000000: it must be 0 (no addresses) to 100000"}},
		{"aggregation_cardinality_limit: 50000000", []string{"aggregation_cardinality_limit is 50000000: it must be 2 to 1000000"}},
		{"series_expiration: 600", []string{"series_expiration is 600ns: write a unit, e.g. 600s"}},
		{"series_expiration: 1000h", []string{"series_expiration is 1000h0m0s: it must be at most 168h0m0s"}},
		{"{connection_metrics: {enabled: true}, metrics: {kmesh.tcp.connection.sent: {enabled: false}, kmesh.tcp.connection.received: {enabled: false}, " +
			"kmesh.tcp.connection.retrans: {enabled: false}, kmesh.tcp.connection.packet_lost: {enabled: false}}}",
			[]string{"connection_metrics is enabled, but metrics disables each metric of that set"}},
		{"colection_interval: 5s", []string{"invalid keys: colection_interval"}},
		{"node_name: [a]", []string{"node_name", "expected type 'string'"}},
		{"service_metrics: true", []string{"service_metrics", "expected a map or struct"}},
		{"service_metrics: {on: true}", []string{"service_metrics", "invalid keys: on"}},
		{"service_metrics: {attributes: [reporter, destination_pod_name]}", []string{
			`service_metrics.attributes: "destination_pod_name" is not a label of the set: they are reporter, source_workload, `}},
		{"connection_metrics: {attributes: [reporter]}", []string{
			"connection_metrics.attributes: without start_time, source_address, destination_address two connections can have the same labels"}},
		{"workload_metrics: {enabled: 7}", []string{"workload_metrics.enabled", "expected type 'bool'"}},
		{"connection_metrics: {min_duration: -5s}", []string{"connection_metrics.min_duration is -5s: it must be at least 0s"}},
		{"connection_metrics: {min_duration: soon}", []string{"'connection_metrics.min_duration' time: invalid duration"}},
		{"access_log: {events: [finished]}", []string{`access_log.events is "finished": it must be one of closed, failed, opened, periodic`}},
		{"access_log: {events: {closed: true}}", []string{"access_log.events"}},
		{"access_log: {period: 0s}", []string{"access_log.period is 0s: it must be at least 100ms"}},
		{"access_log: {queue_limit_mib: 0}", []string{"access_log.queue_limit_mib is 0: it must be 1 to 1024, the default is 32"}},
		{"access_log: {queue_limit_mib: 33554432}", []string{"access_log.queue_limit_mib is 33554432: it must be 1 to 1024"}},
		{"access_log: {aggregate: 10}", []string{"access_log.aggregate is 10ns: write a unit, e.g. 10s"}},
		{"access_log: {aggregate: 500ms}", []string{"access_log.aggregate is 500ms: it must be at least 1s"}},
		{"access_log: {aggregate: 1h}", []string{"access_log.aggregate is 1h0m0s: it must be at most 10m0s"}},
		{"access_log: {aggregate: 10s, events: [closed, periodic]}", []string{"access_log.aggregate cannot add up the event periodic"}},
		{"access_log: {event: [closed]}", []string{"access_log", "invalid keys: event"}},
		{"identity: {source: dns}", []string{`identity.source is "dns": it must be one of auto, file, host, istio, kubernetes`}},
		{"identity: {source: file, file: {path: ''}}", []string{"identity.file.path is empty: write the path of the identity file"}},
		{"identity: {source: kubernetes, kubernetes: {auth_type: token}}", []string{
			`identity.kubernetes.auth_type is "token": it must be one of serviceAccount, kubeConfig, none`}},
		{"identity: {source: istio, istio: {endpoint: ''}}", []string{"identity.istio.endpoint is empty: write HOST:PORT of istiod"}},
		{"identity: {istio: {tls: {ca: a, cafile: b}}}", []string{"identity.istio: ", "'tls' has invalid keys: ca, cafile"}},
		{"identity: {settle: -1s}", []string{"identity.settle is -1s: it must be at least 0s"}},
		{"identity: {settle: 1h}", []string{"identity.settle is 1h0m0s: it must be at most 1m"}},
		{"identity: {retain: 11m}", []string{"identity.retain is 11m0s: it must be at most 10m"}},
		{"identity: {retain: -1s}", []string{"identity.retain is -1s: it must be at least 0s"}},
		{"identity: {networks: [{name: corp, cidrs: [10.0.0.0]}]}", []string{
			`identity.networks[0].cidrs[0] is "10.0.0.0": it must be an address and the length of a prefix, e.g. 10.0.0.0/8`}},
		{"identity: {networks: [{name: corp, cidrs: [10.1.2.3/8]}]}", []string{"identity.networks[0].cidrs[0] is 10.1.2.3/8, which has host bits set: write 10.0.0.0/8"}},
		{"identity: {networks: [{name: a, cidrs: [10.0.0.0/8]}, {name: b, cidrs: [11.0.0.0/8, 10.0.0.0/8]}]}", []string{
			`identity.networks[1].cidrs[1] is 10.0.0.0/8, which is in network "a" already`}},
		{"identity: {networks: [{name: a, cidrs: [10.0.0.0/8, '::ffff:10.0.0.0/104']}]}", []string{`identity.networks[0].cidrs[1] is 10.0.0.0/8, which is in network "a" already`}},
		{"identity: {networks: [{name: '', cidrs: [10.0.0.0/8]}]}", []string{"identity.networks[0].name is empty: write the name, e.g. corp"}},
		{"identity: {networks: [{name: '-', cidrs: [10.0.0.0/8]}]}", []string{`identity.networks[0].name is "-", which is the value for unknown ends`}},
		{"identity: {networks: [{name: other, cidrs: [10.0.0.0/8]}]}", []string{`identity.networks[0].name is "other", which is the value for unknown ends`}},
		{"identity: {networks: [{name: corp}]}", []string{`identity.networks[0].cidrs is empty: write the address ranges of "corp"`}},
		{"identity: {networks: [{name: corp, ranges: []}]}", []string{"identity.networks[0]", "invalid keys: ranges"}},
		{"identity: {unknown_destinations_limit: -1}", []string{"identity.unknown_destinations_limit is -1: it must be 0 (no addresses) to 100000"}},
		{"identity: {files: {}}", []string{"identity", "invalid keys: files"}},
		{"connection_security_policy: ''", []string{"connection_security_policy is empty: write `auto`"}},
		{"scope: everything", []string{`scope is "everything": it must be one of known, all`}},
		{"include_loopback: [yes, no]", []string{"include_loopback", "expected type 'bool'"}},
		{"aggregation_cardinality_limit: -1", []string{"aggregation_cardinality_limit is -1: it must be 2 to 1000000"}},
		{"aggregation_cardinality_limit: 1", []string{"aggregation_cardinality_limit is 1: it must be 2 to 1000000; one is the overflow series"}},
		{"aggregation_cardinality_limit: many", []string{"'aggregation_cardinality_limit' expected type 'int'"}},
		{"series_expiration: -1s", []string{"series_expiration is -1s: it must be at least twice collection_interval (5s)"}},
		{"series_expiration: 9s", []string{"series_expiration is 9s: it must be at least twice collection_interval (5s)"}},
		{"max_connections: 1023", []string{"max_connections is 1023: it must be 1024 to 16777216, the default is 262144"}},
		{"max_connections: 16777217", []string{"max_connections is 16777217: it must be 1024 to 16777216"}},
		{"max_connections: many", []string{"'max_connections' expected type 'int'"}},
		{"cgroup_path: {path: /a}", []string{"cgroup_path", "expected type 'string'"}},
		{"exclude: [{}]", []string{"exclude[0] is empty, and would exclude everything"}},
		{"exclude: [{ports: [80]}, {cidrs: [10.0.0.0]}]", []string{`exclude[1].cidrs[0] is "10.0.0.0": it must be an address and the length of a prefix`}},
		{"exclude: [{ports: [80, 65536, 0]}]", []string{"exclude[0].ports[1] is 65536: a port is 1 to 65535", "exclude[0].ports[2] is 0"}},
		{"exclude: [{direction: OUTBOUND}]", []string{`exclude[0].direction is "OUTBOUND": it must be outbound or inbound`}},
		{"exclude: [{namespaces: ['']}]", []string{"exclude[0].namespaces[0] is empty"}},
		{"exclude: [{workloads: [a, '']}]", []string{"exclude[0].workloads[1] is empty"}},
		{"exclude: [{port: [80]}]", []string{"exclude[0]", "invalid keys: port"}},
		{"exclude: [" + strings.Repeat("{ports: [80]}, ", 65) + "]", []string{"exclude has 65 rules: write at most 64"}},
		{"latency_metrics: {max_size: 1}", []string{"latency_metrics.max_size is 1: it must be 2 to 1000, the default is 80"}},
		{"latency_metrics: {max_size: 1001}", []string{"latency_metrics.max_size is 1001"}},
		{"error_mode: explode", []string{`error_mode is "explode": it must be one of propagate, ignore`}},
		{"metrics: {kmesh.tcp.send: {enabled: false}}", []string{"metrics", "invalid keys: kmesh.tcp.send"}},
		{"metrics: {kmesh.tcp.sent: {enabled: 7}}", []string{"metrics", "kmesh.tcp.sent", "expected type 'bool'"}},
		{"resource_attributes: {k8s.pod.name: {enabled: true}}", []string{"resource_attributes", "invalid keys: k8s.pod.name"}},
		// All that is wrong at once.
		{"{scope: some, error_mode: explode}", []string{"scope is", "error_mode is"}},
	} {
		t.Run(test.yaml, func(t *testing.T) {
			_, err := load(t, test.yaml)
			require.Error(t, err)
			for _, want := range test.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

func TestWhatIsAtTheEdgeOfARangeIsTaken(t *testing.T) {
	for _, yaml := range []string{
		"{collection_interval: 100ms, series_expiration: 200ms}",
		"{connection_metrics: {min_duration: 0s}}",
		"{access_log: {events: [], period: 100ms}}",
		"{access_log: {events: [closed, failed, opened], aggregate: 10s}}",
		"{identity: {settle: 0s, retain: 0s}}",
		"{identity: {settle: 1m}}",
		"{identity: {unknown_destinations_limit: 0}}",
		"{max_connections: 1024}",
		"{max_connections: 16777216}",
		"{identity: {networks: [{name: all, cidrs: [0.0.0.0/0, '::/0', 192.0.2.1/32]}]}}",
		"{aggregation_cardinality_limit: 2}",
		"{series_expiration: 10s}",
		"{identity: {source: host, file: {path: ''}}}", // not the source's
	} {
		_, err := load(t, yaml)
		assert.NoError(t, err, yaml)
	}
}

func TestAnEmptySectionOfASourceKeepsItsDefaults(t *testing.T) {
	config, err := load(t, "{identity: {istio: , kubernetes: {}, file: {}}}")
	require.NoError(t, err)
	assert.Equal(t, createDefaultConfig(), config)
}

func TestAWrongSectionOfASourceIsNamedBesideWhatElseIsWrong(t *testing.T) {
	_, err := load(t, "{identity: {istio: 7, host: {a: b}, files: {}}}")
	for _, want := range []string{"identity.istio: ", "identity.host: ", "has invalid keys: a", "'identity' has invalid keys: files"} {
		require.ErrorContains(t, err, want)
	}
}

func TestTheNameOfANetworkIsUTF8(t *testing.T) {
	config := createDefaultConfig().(*Config)
	config.Identity.Networks = []agent.NetworkConfig{{Name: "corp\xff", CIDRs: []string{"10.0.0.0/8"}}}
	require.ErrorContains(t, config.Validate(), `identity.networks[0].name is "corp\xff", which is not UTF-8`)
}

// Whatever is written is a configuration or an error, and what is a configuration can be written and read again.
func FuzzConfig(f *testing.F) {
	all, err := os.ReadFile("testdata/config.yaml")
	require.NoError(f, err)
	f.Add(string(all))
	for _, seed := range []string{
		"{}", "collection_interval: 5", "access_log: {events: [closed, closed]}", "identity: {networks: [{name: a, cidrs: ['::/0']}]}",
		"identity: {istio: {tls: {ca_file: x}}}", "metrics: {kmesh.tcp.sent: {enabled: false}}", "identity: 7", "[1, 2]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(text))
		if err != nil {
			return
		}
		conf, err := retrieved.AsConf()
		if err != nil {
			return
		}
		config := createDefaultConfig().(*Config)
		if conf.Unmarshal(config) != nil || config.Validate() != nil {
			return
		}
		_, err = config.agentSettings()
		require.NoError(t, err)
		written := confmap.New()
		require.NoError(t, written.Marshal(config))
	})
}
