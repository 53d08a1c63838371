// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

func noConntrack(*zap.Logger) (Translation, error) { return nil, errors.New("not in this test") }

func noProbe(err error) Option {
	return WithProbe(func(probe.Options) (Probe, error) { return nil, err })
}

func TestTheProbeIsOpenedAsConfigured(t *testing.T) {
	kernel := &fakeProbe{}
	settings, _ := newSettings(consumertest.NewNop(), nil)
	settings.Identity.Source, settings.IncludeLoopback, settings.CgroupPath = host.NewDefaultConfig(), true, "/host/cgroup"
	settings.MaxConnections = 4096
	r, err := New(*settings, WithProbe(kernel.open))
	require.NoError(t, err)
	assert.Equal(t, probe.Options{
		CgroupPath: "/host/cgroup", IncludeLoopback: true, NameListeners: true, Exclusive: true, MaxConnections: 4096,
	}, kernel.asked)
	require.NoError(t, r.Close(), "without a start")
	assert.Equal(t, 1, kernel.closed)
}

// The package's check for goroutines that are left shows that the source was closed too.
func TestAProbeThatDoesNotOpenEndsTheAssembly(t *testing.T) {
	settings, _ := newSettings(consumertest.NewNop(), nil)
	settings.Identity.Source = host.NewDefaultConfig()
	_, err := New(*settings, noProbe(errors.New("CAP_BPF is missing")))
	require.EqualError(t, err, "CAP_BPF is missing")
}

func TestASourceThatDoesNotStartEndsTheAssembly(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "identity.yaml")
	for want, source := range map[string]identity.SourceConfig{
		"identity file " + missing:                       &file.Config{Path: missing},
		"identity.kubernetes.auth_type serviceAccount: ": kubernetes.NewDefaultConfig(),
	} {
		settings, _ := newSettings(consumertest.NewNop(), nil)
		settings.Identity.Source = source
		_, err := New(*settings, noProbe(errors.New("the probe was asked for")), WithConntrack(noConntrack))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "the probe was asked for")
	}
}

func TestEveryKeyOfSeriesAndLogReachesThem(t *testing.T) {
	networks, enabled := new(identity.Networks), metricsOf(series.Workload, series.Connection)
	settings := &Settings{
		EnabledMetrics: enabled, ConnectionMinDuration: time.Minute,
		Attributes:     map[string][]string{WorkloadSet: {"reporter"}},
		FailureReasons: true, HistogramSize: 160, Exclude: []naming.Rule{{Ports: []uint16{80}}},
		AccessLog: AccessLogSettings{Events: []string{EventOpened, EventPeriodic}, Period: 30 * time.Second},
		Identity: IdentitySettings{
			Source: file.NewDefaultConfig(), Settle: 2 * time.Second, Networks: networks, UnknownDestinationsLimit: 50,
		},
		ConnectionSecurityPolicy: "mutual_tls", Scope: ScopeAll, AggregationCardinalityLimit: 1000, SeriesExpiration: time.Hour,
	}
	assert.Equal(t, naming.Settings{Scope: naming.ScopeAll, Exclude: settings.Exclude, Settle: 2 * time.Second, Networks: networks}, settings.naming())
	assert.Equal(t, series.Settings{
		Attributes: map[series.Set][]string{series.Workload: {"reporter"}}, FailureReasons: true, HistogramSize: 160,
		Enabled: enabled, SecurityPolicy: "mutual_tls", ConnectionMinDuration: time.Minute,
		CardinalityLimit: 1000, Networks: networks, UnknownAddresses: 50, Expiration: time.Hour,
	}, settings.series())
	assert.Equal(t, accesslog.Settings{Opened: true, Periodic: true, Period: 30 * time.Second}, settings.AccessLog.settings())

	settings.AccessLog.Events = []string{EventClosed, EventFailed}
	assert.Equal(t, accesslog.Settings{Closed: true, Failed: true, Period: 30 * time.Second}, settings.AccessLog.settings())
	settings.Identity.UnknownDestinationsLimit = 0
	assert.Negative(t, settings.series().UnknownAddresses, "0 is the default of series")
}

func TestASignalWithoutAPipelineHasNoStage(t *testing.T) {
	s := newSubject(t, nil, nil, consumertest.NewNop())
	assert.Nil(t, s.series, "nobody would receive the series")
	assert.Nil(t, s.metricsOut)
	assert.NotNil(t, s.logs)
	s = newSubject(t, nil, consumertest.NewNop(), nil)
	assert.NotNil(t, s.series)
	assert.Nil(t, s.logs)
	assert.Nil(t, s.spans)
	assert.Empty(t, s.signals)
}

func TestSeriesOfGoneWorkloadsEndOnlyWhereTheSourceListsItsWorkloads(t *testing.T) {
	for source, want := range map[string]bool{"host": false, "file": true, "kubernetes": true, "istio": true} {
		s := newSubject(t, func(s *Settings) { s.Identity.Source = sources.NewDefaultConfigs()[source] }, nil, nil)
		assert.Equal(t, want, s.listed != nil, source)
	}
}

func TestProgramsThatRunBeforeOursAreLogged(t *testing.T) {
	for _, first := range []bool{true, false} {
		settings, logged := newSettings(consumertest.NewNop(), nil)
		settings.Identity.Source = host.NewDefaultConfig()
		r, err := New(*settings, WithProbe((&fakeProbe{notFirst: !first}).open))
		require.NoError(t, err)
		r.Start()
		require.NoError(t, r.Stop(t.Context()))
		const message = "this kernel cannot run the connect hooks before programs that were attached earlier"
		said := 0
		for _, entry := range logged.All() {
			if strings.HasPrefix(entry.Message, message) {
				said++
			}
		}
		assert.Equal(t, !first, said == 1)
	}
}

func TestEachPartThatTheKernelRefusesIsWarnedOfOnceAndTheStatusStaysOK(t *testing.T) {
	settings, logged := newSettings(consumertest.NewNop(), nil)
	settings.Identity.Source = host.NewDefaultConfig()
	var status statuses
	settings.Status = status.hear
	kernel := &fakeProbe{missing: []probe.Missing{
		{Part: probe.Part{Name: "walk", Since: "5.15", Loss: "figures of open connections"}, Err: errors.New("operation not permitted")},
		{Part: probe.Part{Name: "connect4", Since: "5.15", Loss: "the original destination"}, Err: errors.New("invalid argument")},
	}}
	r, err := New(*settings, WithProbe(kernel.open))
	require.NoError(t, err)
	r.Start()
	require.NoError(t, r.Stop(t.Context()))

	warnings := logged.FilterLevelExact(zap.WarnLevel).All()
	require.Len(t, warnings, 2)
	for n, want := range []map[string]any{
		{"part": "walk", "not_reported": "figures of open connections", "needed_since": "Linux 5.15", "error": "operation not permitted"},
		{"part": "connect4", "not_reported": "the original destination", "needed_since": "Linux 5.15", "error": "invalid argument"},
	} {
		assert.Contains(t, warnings[n].Message, "the kernel rejected an optional program")
		assert.Equal(t, want, warnings[n].ContextMap())
	}
	assert.Empty(t, status.reported())
}

func TestTheAgentObservesAtEveryCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubject(t, nil, consumertest.NewNop(), consumertest.NewNop())
		s.kernel.counts.Read, s.kernel.tally.Opened = 41, 42
		assert.Equal(t, &Observation{}, s.Observation(), "nothing yet")
		s.Start()
		s.kernel.give(closed(1), failed(2))
		after(10*time.Second + readInterval)
		o := s.Observation()
		assert.Equal(t, uint64(41), o.Counts.Read)
		assert.Equal(t, uint64(42), o.Tally.Opened)
		assert.Equal(t, flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Failed: 1, flow.Sent: 100, flow.Received: 2000, flow.Retransmits: 3, flow.Lost: 1}, o.Series.Exported)
		assert.Equal(t, uint64(2), o.Logs.Delivered)
		assert.Equal(t, []probe.MapUse{{Name: "ends", Bytes: 16 << 20}}, o.Maps)
		assert.Equal(t, []probe.ProgramUse{{Name: "set_state", Runs: 8, Time: 2 * time.Microsecond}}, o.Programs)
		assert.Equal(t, identity.Held{Workloads: 2, Services: 1}, s.Held())
		assert.True(t, s.InSync())
		require.NoError(t, s.Stop(t.Context()))
	})
}
