// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
)

// fakeNAT translates nothing.
type fakeNAT struct{ opened, closed int }

func (n *fakeNAT) Translate(uint64, netip.AddrPort, netip.AddrPort) (netip.AddrPort, bool) {
	return netip.AddrPort{}, false
}
func (n *fakeNAT) Stats() conntrack.Stats { return conntrack.Stats{Asked: 1} }

func (n *fakeNAT) Close() error {
	n.closed++
	return nil
}

// open counts how often the table is opened, which fails with err.
func (n *fakeNAT) open(err error) func(*zap.Logger) (Translation, error) {
	return func(*zap.Logger) (Translation, error) {
		n.opened++
		return n, err
	}
}

func TestConnectionTrackingIsAskedWhereServicesAreKnown(t *testing.T) {
	for source, want := range map[string]int{"host": 0, "file": 1, "kubernetes": 1, "istio": 1} {
		n := &fakeNAT{}
		settings, _ := newSettings(nil, nil)
		settings.Identity.Source = sources.NewDefaultConfigs()[source]
		made := newTranslation(&settings.Settings, n.open(nil))
		assert.Equal(t, want, n.opened, source)
		assert.Equal(t, want == 0, made == nil, source)
	}
}

func TestTheAgentStartsWithoutConnectionTracking(t *testing.T) {
	settings, logged := newSettings(nil, nil)
	require.Nil(t, newTranslation(&settings.Settings, (&fakeNAT{}).open(errors.New("operation not permitted"))))
	require.Equal(t, 1, logged.Len(), "one warning")
	require.Equal(t, zap.WarnLevel, logged.All()[0].Level)
	require.Contains(t, logged.All()[0].Message, "CAP_NET_ADMIN")
}

func TestTheTableIsClosedWithTheAgent(t *testing.T) {
	n := &fakeNAT{}
	settings, _ := newSettings(consumertest.NewNop(), nil)
	settings.Identity.Source = &file.Config{Path: "../../testdata/identity/identity.yaml"}
	r, err := New(settings.complete(), WithProbe((&fakeProbe{}).open), WithConntrack(n.open(nil)))
	require.NoError(t, err)
	r.Start()
	require.NoError(t, r.Stop(t.Context()))
	require.Equal(t, 1, n.opened)
	require.Equal(t, 1, n.closed)
}
