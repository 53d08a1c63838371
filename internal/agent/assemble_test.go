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

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
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
	r, err := New(settings.complete(), WithProbe(kernel.open))
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
	_, err := New(settings.complete(), noProbe(errors.New("CAP_BPF is missing")))
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
		_, err := New(settings.complete(), noProbe(errors.New("the probe was asked for")), WithConntrack(noConntrack))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "the probe was asked for")
	}
}

func TestEveryKeyOfNamingReachesIt(t *testing.T) {
	networks := new(identity.Networks)
	settings := &Settings{
		Exclude:  []naming.Rule{{Ports: []uint16{80}}},
		Identity: IdentitySettings{Source: file.NewDefaultConfig(), Settle: 2 * time.Second, Networks: networks},
		Scope:    ScopeAll,
	}
	got := settings.naming()
	require.NotNil(t, got.Local)
	got.Local = nil // functions cannot be compared
	want := naming.Settings{Scope: naming.ScopeAll, Exclude: settings.Exclude, Hops: naming.OmitHops, Node: identity.OwnNetns(), Settle: 2 * time.Second, Networks: networks}
	assert.Equal(t, want, got)
	settings.SidecarHops = true
	assert.Equal(t, naming.ReportHops, settings.naming().Hops)
	settings.Identity.Source = host.NewDefaultConfig()
	assert.Equal(t, naming.NoHops, settings.naming().Hops)
}

func TestASignalWithoutAPipelineHasNoStage(t *testing.T) {
	signals := func(s *subject) (names []string) {
		for _, one := range s.sinks {
			names = append(names, one.signal)
		}
		return names
	}
	assert.Equal(t, []string{"logs"}, signals(newSubject(t, nil, nil, consumertest.NewNop())), "nobody would receive the series")
	assert.Equal(t, []string{"metrics"}, signals(newSubject(t, nil, consumertest.NewNop(), nil)))
}

func TestSeriesOfGoneWorkloadsEndOnlyWhereTheSourceListsItsWorkloads(t *testing.T) {
	for source, want := range map[string]bool{"host": false, "file": true, "kubernetes": true, "istio": true} {
		settings, _ := newSettings(nil, nil)
		settings.Identity.Source = sources.NewDefaultConfigs()[source]
		var given sink.Settings
		settings.Signals = []Signal{{"metrics", func(s sink.Settings) Sink {
			given = s
			return series.NewSink(settings.series, s, consumertest.NewNop(), noReport{})
		}}}
		settings.join(&fakeSource{}, &fakeProbe{}, nil)
		assert.Equal(t, want, given.Workloads != nil, source)
	}
}

func TestProgramsThatRunBeforeOursAreLogged(t *testing.T) {
	for _, first := range []bool{true, false} {
		settings, logged := newSettings(consumertest.NewNop(), nil)
		settings.Identity.Source = host.NewDefaultConfig()
		r, err := New(settings.complete(), WithProbe((&fakeProbe{notFirst: !first}).open))
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
	r, err := New(settings.complete(), WithProbe(kernel.open))
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
		s.kernel.stats = probe.Stats{
			Tally: probe.Tally{Opened: 42}, Counts: probe.Counts{Read: 41},
			Maps:     []probe.MapUse{{Name: "ends", Bytes: 16 << 20}},
			Programs: []probe.ProgramUse{{Name: "set_state", Runs: 8, Time: 2 * time.Microsecond}},
		}
		assert.Equal(t, &Observation{}, s.Observation(), "nothing yet")
		s.Start()
		s.kernel.give(closed(1), failed(2))
		after(10*time.Second + readInterval)
		o := s.Observation()
		assert.Equal(t, s.kernel.stats, o.Probe)
		assert.Equal(t, flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Failed: 1, flow.Sent: 100, flow.Received: 2000, flow.Retransmits: 3, flow.Lost: 1}, o.Series.Exported)
		assert.Equal(t, uint64(2), o.Queues["log"].Delivered)
		assert.Equal(t, identity.Held{Workloads: 2, Services: 1}, s.Held())
		assert.True(t, s.InSync())
		require.NoError(t, s.Stop(t.Context()))
	})
}
