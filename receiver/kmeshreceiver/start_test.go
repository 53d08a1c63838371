// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// idleProbe is a kernel in which nothing happens.
type idleProbe struct {
	asked  probe.Options
	closed int
}

func (p *idleProbe) open(o probe.Options) (agent.Probe, error) {
	p.asked = o
	return p, nil
}

func (*idleProbe) Read(until time.Time, _ func(*probe.Record)) error {
	time.Sleep(time.Until(until)) // as the probe does
	return nil
}

func (*idleProbe) Sweep(bool, func(*probe.Record)) error { return nil }
func (*idleProbe) Drain(func(*probe.Spilled)) error      { return nil }
func (*idleProbe) Clock() probe.Clock                    { return probe.Clock{} }
func (*idleProbe) Stats() (probe.Stats, error)           { return probe.Stats{}, nil }
func (*idleProbe) FirstAtConnect() bool                  { return true }
func (*idleProbe) Missing() []probe.Missing              { return nil }

func (p *idleProbe) Close() error {
	p.closed++
	return nil
}

// metricsOf creates the metrics signal of a configuration, whose agent has the options.
func metricsOf(t *testing.T, yaml string, options ...agent.Option) component.Component {
	t.Helper()
	config, err := load(t, yaml)
	require.NoError(t, err)
	all := newInstances()
	all.newAgent = func(i *instance) (runner, error) { return newAgent(i, options...) }
	signal, err := newFactory(all).CreateMetrics(t.Context(), receivertest.NewNopSettings(metadata.Type), config, consumertest.NewNop())
	require.NoError(t, err)
	return signal
}

func noProbe(err error) agent.Option {
	return agent.WithProbe(func(probe.Options) (agent.Probe, error) { return nil, err })
}

func TestTheReceiverStartsAndStops(t *testing.T) {
	kernel := &idleProbe{}
	signal := metricsOf(t, "{identity: {source: host}, include_loopback: true, cgroup_path: /host/cgroup}", agent.WithProbe(kernel.open))
	require.NoError(t, signal.Start(t.Context(), newHost()))
	assert.Equal(t, probe.Options{
		CgroupPath: "/host/cgroup", IncludeLoopback: true, NameListeners: true, Exclusive: true, MaxConnections: 262_144,
	}, kernel.asked)
	require.NoError(t, signal.Shutdown(t.Context()))
	assert.Equal(t, 1, kernel.closed)
}

// The package's check for goroutines that are left shows that the source was closed too.
func TestAProbeThatDoesNotOpenEndsTheStart(t *testing.T) {
	signal := metricsOf(t, "identity: {source: host}", noProbe(errors.New("CAP_BPF is missing")))
	require.EqualError(t, signal.Start(t.Context(), newHost()), "CAP_BPF is missing")
	require.NoError(t, signal.Shutdown(t.Context()))
}

func TestASourceThatDoesNotStartEndsTheStart(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "identity.yaml")
	require.NoError(t, os.WriteFile(wrong, []byte("workloads: 7\n"), 0o600))
	for yaml, want := range map[string]string{
		"identity: {source: file, file: {path: " + wrong + "}}": "identity file " + wrong,
		"identity: {source: kubernetes}":                        "identity.kubernetes.auth_type serviceAccount: ",
	} {
		signal := metricsOf(t, yaml, noProbe(errors.New("the probe was asked for")))
		require.ErrorContains(t, signal.Start(t.Context(), newHost()), want)
		require.NoError(t, signal.Shutdown(t.Context()))
	}
}

func TestAnIdentityFileThatGoesBadShowsInTheStatus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "identity.yaml")
	require.NoError(t, os.WriteFile(file, []byte("workloads: []\n"), 0o600))
	host, signal := newHost(), metricsOf(t, "identity: {source: file, file: {path: "+file+"}}", agent.WithProbe((&idleProbe{}).open))
	require.NoError(t, signal.Start(t.Context(), host))
	require.NoError(t, os.WriteFile(file, []byte("workloads: 7\n"), 0o600))
	require.Eventually(t, func() bool { return len(host.reported()) == 1 }, 20*time.Second, 20*time.Millisecond)
	assert.Contains(t, host.reported()[0], "StatusRecoverableError: identity file "+file)
	require.NoError(t, os.WriteFile(file, []byte("workloads: []\n"), 0o600))
	require.Eventually(t, func() bool { return len(host.reported()) == 2 }, 20*time.Second, 20*time.Millisecond)
	assert.Equal(t, "StatusOK", host.reported()[1])
	require.NoError(t, signal.Shutdown(t.Context()))
}

func TestTheResourceIsTheNode(t *testing.T) {
	for _, test := range []struct {
		name, yaml string
		env        map[string]string
		want       map[string]any
	}{
		{"a host", "{}", nil, map[string]any{"service.name": "kmesh", "service.instance.id": "host-1", "host.name": "host-1"}},
		{"a named host", "node_name: n", nil, map[string]any{"service.name": "kmesh", "service.instance.id": "n", "host.name": "host-1"}},
		{"a node", "{}", map[string]string{"K8S_NODE_NAME": "node-1"}, map[string]any{
			"service.name": "kmesh", "service.instance.id": "node-1", "host.name": "host-1", "k8s.node.name": "node-1"}},
		{"a named node", "node_name: n", map[string]string{"K8S_NODE_NAME": "node-1"}, map[string]any{
			"service.name": "kmesh", "service.instance.id": "n", "host.name": "host-1", "k8s.node.name": "n"}},
		{"in a cluster", "node_name: n", map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, map[string]any{
			"service.name": "kmesh", "service.instance.id": "n", "host.name": "host-1", "k8s.node.name": "n"}},
		{"one off", "resource_attributes: {host.name: {enabled: false}}", nil, map[string]any{
			"service.name": "kmesh", "service.instance.id": "host-1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range []string{"K8S_NODE_NAME", "KUBERNETES_SERVICE_HOST"} {
				t.Setenv(name, "") // so that it is restored
				require.NoError(t, os.Unsetenv(name))
			}
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			config, err := load(t, test.yaml)
			require.NoError(t, err)
			assert.Equal(t, test.want, config.resource("host-1").Attributes().AsRaw())
		})
	}
}

func TestEveryKeyReachesTheAgent(t *testing.T) {
	config, _ := fromFile(t, "kmesh/all")
	settings, err := config.agentSettings()
	require.NoError(t, err)
	networks, err := agent.NewNetworks(config.Identity.Networks)
	require.NoError(t, err)
	exclude, err := agent.NewExclude(config.Exclude)
	require.NoError(t, err)
	require.Len(t, exclude, 2)
	assert.Equal(t, agent.Settings{
		CollectionInterval: 7 * time.Second,
		Identity: agent.IdentitySettings{
			Name: "file", Source: config.Identity.Sources["file"], Settle: 2 * time.Second, Retain: 3 * time.Minute, Networks: networks,
		},
		Scope: agent.ScopeAll, IncludeLoopback: true, SidecarHops: true, Exclude: exclude,
		MaxConnections: 1_000_000, CgroupPath: "/host/sys/fs/cgroup", TraceSalt: "correct horse battery staple",
	}, settings)
}

func TestEveryKeyReachesTheSeries(t *testing.T) {
	config, _ := fromFile(t, "kmesh/all")
	assert.Equal(t, series.Settings{
		Enabled: enabledMetrics(config.Metrics), ConnectionMinDuration: time.Minute,
		Attributes: map[series.Set][]string{
			"service": {"source_app"}, "istio": {"source_workload"}, "latency": {"reporter"}, "workload": {"reporter", "source_workload", "destination_pod_name"},
			"connection": {"reporter", "start_time", "source_address", "destination_address"},
		},
		FailureReasons: true, HistogramSize: 160, SecurityPolicy: "mutual_tls",
		CardinalityLimit: 1000, UnknownAddresses: 50, Expiration: time.Hour,
	}, config.series())

	config, _ = fromFile(t, "kmesh")
	assert.ElementsMatch(t, serviceSetNames, slices.Collect(maps.Keys(config.series().Enabled)))
	config.Identity.UnknownDestinationsLimit = 0
	assert.Negative(t, config.series().UnknownAddresses, "0 is the default of series")

	config, _ = fromFile(t, "kmesh/one_of_workload")
	assert.ElementsMatch(t, sorted(serviceSetNames, []string{"kmesh.tcp.workload.sent"}), slices.Collect(maps.Keys(config.series().Enabled)))

	config, err := load(t, "metrics: {kmesh.tcp.connection.sent: {enabled: true}}")
	require.NoError(t, err)
	assert.Contains(t, config.series().Enabled, "kmesh.tcp.connection.sent")
}

// Spans take the access log's tcp_info and queue_limit_mib.
func TestEveryKeyOfASignalReachesItsSink(t *testing.T) {
	config, _ := fromFile(t, "kmesh/all")
	given, nop := sink.Settings{Resource: pcommon.NewResource(), Scope: pcommon.NewInstrumentationScope(), Logger: zap.NewNop()}, consumertest.NewNop()
	assert.Equal(t, sink.Needs{TCPInfo: true, Trace: true}, newLogsSink(config, given, nop, nil).Needs())
	assert.Equal(t, sink.Needs{TCPInfo: true, Trace: true}, newTracesSink(config, given, nop, nil).Needs())
	assert.Equal(t, 8<<20, config.AccessLog.QueueBytes())
}

func TestAutoIsTheHostOutsideAPod(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1") // set by hand, say
	if sources.Select(sources.Auto) != "host" {
		t.Skip("this is a pod")
	}
	c := createDefaultConfig().(*Config)
	settings, err := c.agentSettings()
	require.NoError(t, err)
	require.IsType(t, &host.Config{}, settings.Identity.Source)
}

func TestTheSelectedSourceIsValidated(t *testing.T) {
	c := createDefaultConfig().(*Config)
	for _, name := range sources.Names() {
		c.Identity.Source = name
		if name == "file" {
			require.ErrorContains(t, c.Validate(), "identity file identity.yaml: no such file or directory")
			continue
		}
		require.NoError(t, c.Validate(), name)
	}
	c.Identity.Source = "istio"
	c.Identity.Sources["istio"].(*istio.Config).TLS.CAFile = "/nowhere/root-cert.pem"
	require.ErrorContains(t, c.Validate(), "identity.istio.tls.ca_file: stat /nowhere/root-cert.pem: no such file or directory")
	c.ErrorMode = errorModeIgnore
	require.NoError(t, c.Validate())
	*c.Identity.Sources["kubernetes"].(*kubernetes.Config) = kubernetes.Config{AuthType: "token"}
	for _, name := range []string{"kubernetes", "auto"} {
		c.Identity.Source = name
		require.ErrorContains(t, c.Validate(), "identity.kubernetes.auth_type")
		require.ErrorContains(t, c.Validate(), "identity.kubernetes.cluster_id is empty")
		require.ErrorContains(t, c.Validate(), "identity.kubernetes.cluster_domain is empty")
	}
	*c.Identity.Sources["istio"].(*istio.Config) = istio.Config{}
	c.Identity.Source = "istio"
	require.ErrorContains(t, c.Validate(), "identity.istio.endpoint is empty")
	require.ErrorContains(t, c.Validate(), "identity.istio.cluster_id is empty")
}
