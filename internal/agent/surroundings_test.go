// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
)

// inPIDNamespace makes the agent see such a namespace.
func inPIDNamespace(t *testing.T, target string) Option {
	link := filepath.Join(t.TempDir(), "pid")
	require.NoError(t, os.Symlink(target, link))
	return func(o *openers) { o.pidNamespace = link }
}

func TestWhatReportsNothingIsWarnedOfOnce(t *testing.T) {
	nop := consumertest.NewNop()
	for _, test := range []struct {
		name    string
		metrics consumer.Metrics
		logs    consumer.Logs
		change  func(*configured)
		pid     string
		warning string // empty: none
	}{
		{"all is well", nop, nop, func(*configured) {}, initialPIDNamespace, ""},
		{"no events", nop, nop, func(s *configured) { s.accessLog.Events = nil }, initialPIDNamespace, "access_log.events is empty"},
		{"no events, and no logs pipeline", nop, nil, func(s *configured) { s.accessLog.Events = nil }, initialPIDNamespace, ""},
		{"no metrics", nop, nop, func(s *configured) { s.series.Enabled = nil }, initialPIDNamespace, "all its metrics are switched off"},
		{"no metrics, and no metrics pipeline", nil, nop, func(s *configured) { s.series.Enabled = nil }, initialPIDNamespace, ""},
		{"a PID namespace of its own", nop, nop, func(*configured) {}, "pid:[4026532001]", "in a PID namespace of its own"},
	} {
		t.Run(test.name, func(t *testing.T) {
			settings, logged := newSettings(test.metrics, test.logs)
			settings.Identity.Source = host.NewDefaultConfig()
			test.change(settings)
			r, err := New(settings.complete(), WithProbe((&fakeProbe{}).open), inPIDNamespace(t, test.pid))
			require.NoError(t, err)
			r.Start()
			require.NoError(t, r.Stop(t.Context()))
			warnings := logged.FilterLevelExact(zap.WarnLevel).All()
			if test.warning == "" {
				assert.Empty(t, warnings)
				return
			}
			require.Len(t, warnings, 1)
			assert.Contains(t, warnings[0].Message, test.warning)
		})
	}
}

func TestAGoodStartIsOneLine(t *testing.T) {
	settings, logged := newSettings(consumertest.NewNop(), nil)
	settings.Identity.Name, settings.Identity.Source = "host", host.NewDefaultConfig()
	settings.CgroupPath = t.TempDir()
	kernel := &fakeProbe{}
	kernel.stats.Tally.Found = 7
	r, err := New(settings.complete(), WithProbe(kernel.open), inPIDNamespace(t, initialPIDNamespace))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, 1, logged.Len())
	fields := logged.All()[0].ContextMap()
	assert.Equal(t, "the receiver runs", logged.All()[0].Message)
	assert.Equal(t, "host", fields["identity_source"])
	assert.Equal(t, uint64(7), fields["older_connections"])
	assert.Equal(t, false, fields["continues_after_reload"])
	assert.Contains(t, fields["cgroup"], settings.CgroupPath)
	assert.NotNil(t, fields["capabilities"])
}
