//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// withProbe puts a probe, or its failure, in place of the kernel's.
func withProbe(t *testing.T, p prober, err error) *probe.Options {
	t.Helper()
	before, asked := openProbe, new(probe.Options)
	openProbe = func(o probe.Options) (prober, error) {
		*asked = o
		return p, err
	}
	t.Cleanup(func() { openProbe = before })
	return asked
}

// metricsOf creates the metrics signal of a configuration.
func metricsOf(t *testing.T, yaml string) component.Component {
	t.Helper()
	config, err := load(t, yaml)
	require.NoError(t, err)
	signal, err := NewFactory().CreateMetrics(t.Context(), receivertest.NewNopSettings(metadata.Type), config, consumertest.NewNop())
	require.NoError(t, err)
	return signal
}

func TestTheReceiverStartsAndStops(t *testing.T) {
	kernel := &fakeProbe{}
	asked := withProbe(t, kernel, nil)
	signal := metricsOf(t, "{identity: {source: host}, include_loopback: true, cgroup_path: /host/cgroup}")
	require.NoError(t, signal.Start(t.Context(), newHost()))
	assert.Equal(t, probe.Options{CgroupPath: "/host/cgroup", IncludeLoopback: true, NameListeners: true, Exclusive: true}, *asked)
	require.NoError(t, signal.Shutdown(t.Context()))
	assert.Equal(t, 1, kernel.closed)
}

// The package's check for goroutines that are left tells that the source was closed too.
func TestAProbeThatDoesNotOpenEndsTheStart(t *testing.T) {
	withProbe(t, nil, errors.New("CAP_BPF is missing"))
	signal := metricsOf(t, "identity: {source: host}")
	require.EqualError(t, signal.Start(t.Context(), newHost()), "CAP_BPF is missing")
	require.NoError(t, signal.Shutdown(t.Context()))
}

func TestASourceThatDoesNotStartEndsTheStart(t *testing.T) {
	withProbe(t, nil, errors.New("the probe was asked for"))
	missing := filepath.Join(t.TempDir(), "identity.yaml")
	for yaml, want := range map[string]string{
		"identity: {source: file, file: {path: " + missing + "}}": "identity file " + missing,
		"identity: {source: kubernetes}":                          "identity.kubernetes.auth_type serviceAccount: ",
	} {
		signal := metricsOf(t, yaml)
		require.ErrorContains(t, signal.Start(t.Context(), newHost()), want)
		require.NoError(t, signal.Shutdown(t.Context()))
	}
}

func TestAnIdentityFileThatGoesBadShowsInTheHealth(t *testing.T) {
	withProbe(t, &fakeProbe{}, nil)
	file := filepath.Join(t.TempDir(), "identity.yaml")
	require.NoError(t, os.WriteFile(file, []byte("workloads: []\n"), 0o600))
	host, signal := newHost(), metricsOf(t, "identity: {source: file, file: {path: "+file+"}}")
	require.NoError(t, signal.Start(t.Context(), host))
	require.NoError(t, os.WriteFile(file, []byte("workloads: 7\n"), 0o600))
	require.Eventually(t, func() bool { return len(host.told()) == 1 }, 20*time.Second, 20*time.Millisecond)
	assert.Contains(t, host.told()[0], "StatusRecoverableError: identity file "+file)
	require.NoError(t, os.WriteFile(file, []byte("workloads: []\n"), 0o600))
	require.Eventually(t, func() bool { return len(host.told()) == 2 }, 20*time.Second, 20*time.Millisecond)
	assert.Equal(t, "StatusOK", host.told()[1])
	require.NoError(t, signal.Shutdown(t.Context()))
}

func TestTheScopeFollowsTheSource(t *testing.T) {
	for yaml, want := range map[string]flow.Scope{
		"identity: {source: host}":                 flow.ScopeAll,
		"identity: {source: file}":                 flow.ScopeKnown,
		"identity: {source: kubernetes}":           flow.ScopeKnown,
		"identity: {source: istio}":                flow.ScopeKnown,
		"{identity: {source: host}, scope: known}": flow.ScopeKnown,
		"{identity: {source: file}, scope: all}":   flow.ScopeAll,
	} {
		config, err := load(t, yaml)
		require.NoError(t, err)
		assert.Equal(t, want, config.scope(), yaml)
	}
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

func TestEveryKeyOfSeriesAndLogReachesThem(t *testing.T) {
	config, _ := fromFile(t, "kmesh/all")
	assert.Equal(t, flow.Settings{
		Scope: flow.ScopeAll, SecurityPolicy: "mutual_tls", Settle: 2 * time.Second,
		WorkloadMetrics: true, ConnectionMetrics: true, ConnectionMinDuration: time.Minute,
		CardinalityLimit: 1000, UnknownAddresses: 50, SeriesExpiration: time.Hour,
		Log: flow.LogSettings{Opened: true, Periodic: true, Period: 30 * time.Second},
	}, config.flows(map[set]bool{workloadSet: true, connectionSet: true}))
	config, _ = fromFile(t, "kmesh")
	assert.Equal(t, flow.LogSettings{Closed: true, Failed: true, Period: 5 * time.Second}, config.flows(nil).Log)
	config.Identity.UnknownDestinationsLimit = 0
	assert.Negative(t, config.flows(nil).UnknownAddresses, "0 is flow's own default")
}

func TestWhoAttachedBeforeUsIsTold(t *testing.T) {
	s := newSubject(t, known, consumertest.NewNop(), nil)
	config, err := load(t, "identity: {source: host}")
	require.NoError(t, err)
	settings := receivertest.NewNopSettings(metadata.Type)
	settings.Logger = s.logger
	for _, first := range []bool{true, false} {
		withProbe(t, &fakeProbe{notFirst: !first}, nil)
		i := &instance{config: config, metrics: &pipeline[consumer.Metrics]{settings, consumertest.NewNop()}}
		r, err := assemble(i)
		require.NoError(t, err)
		r.start()
		require.NoError(t, r.stop(t.Context()))
		assert.Equal(t, first, s.logged.Len() == 0)
	}
	assert.Contains(t, s.logged.All()[0].Message, "this kernel cannot run the connect hooks before programs that were attached earlier")
}

func TestEachPartThatTheKernelRefusesIsWarnedOfOnceAndTheStatusStaysOK(t *testing.T) {
	s := newSubject(t, known, consumertest.NewNop(), nil)
	config, err := load(t, "identity: {source: host}")
	require.NoError(t, err)
	settings := receivertest.NewNopSettings(metadata.Type)
	settings.Logger = s.logger
	withProbe(t, &fakeProbe{missing: []probe.Missing{
		{Part: probe.Part{Name: "walk", Since: "5.15", Loss: "figures of open connections"}, Err: errors.New("operation not permitted")},
		{Part: probe.Part{Name: "connect4", Since: "5.15", Loss: "the original destination"}, Err: errors.New("invalid argument")},
	}}, nil)
	host := newHost()
	i := &instance{config: config, metrics: &pipeline[consumer.Metrics]{settings, consumertest.NewNop()}, assemble: assemble}
	require.NoError(t, i.component().Start(t.Context(), host))
	require.NoError(t, i.component().Shutdown(t.Context()))

	warnings := s.logged.FilterLevelExact(zap.WarnLevel).All()
	require.Len(t, warnings, 2)
	for n, want := range []map[string]any{
		{"part": "walk", "not_reported": "figures of open connections", "needed_since": "Linux 5.15", "error": "operation not permitted"},
		{"part": "connect4", "not_reported": "the original destination", "needed_since": "Linux 5.15", "error": "invalid argument"},
	} {
		assert.Contains(t, warnings[n].Message, "the receiver runs without a part that this kernel refuses")
		assert.Equal(t, want, warnings[n].ContextMap())
	}
	assert.Empty(t, host.events)
}
