//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
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

// withConntrack puts a table, or why it does not open, in place of the kernel's.
func withConntrack(t *testing.T, n *fakeNAT, err error) {
	t.Helper()
	before := openConntrack
	openConntrack = func(*zap.Logger) (translation, error) {
		n.opened++
		return n, err
	}
	t.Cleanup(func() { openConntrack = before })
}

func TestConnectionTrackingIsAskedWhereServicesAreKnown(t *testing.T) {
	for source, want := range map[string]int{"host": 0, "file": 1, "kubernetes": 1, "istio": 1} {
		n := &fakeNAT{}
		withConntrack(t, n, nil)
		made := newTranslation(&IdentityConfig{Source: source, Sources: sources.NewDefaultConfigs()}, zap.NewNop())
		assert.Equal(t, want, n.opened, source)
		assert.Equal(t, want == 0, made == nil, source)
	}
}

func TestTheReceiverStartsWithoutConnectionTracking(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	n := &fakeNAT{}
	withConntrack(t, n, errors.New("operation not permitted"))
	require.Nil(t, newTranslation(&IdentityConfig{Source: "file", Sources: sources.NewDefaultConfigs()}, zap.New(core)))
	require.Equal(t, 1, logged.Len(), "one warning")
	require.Contains(t, logged.All()[0].Message, "CAP_NET_ADMIN")
}

func TestTheTableIsClosedWithTheReceiver(t *testing.T) {
	n := &fakeNAT{}
	withConntrack(t, n, nil)
	withProbe(t, &fakeProbe{}, nil)
	config, err := load(t, "identity: {source: file, file: {path: ../../testdata/identity/identity.yaml}}")
	require.NoError(t, err)
	r, err := assemble(&instance{config: config, metrics: &pipeline[consumer.Metrics]{receivertest.NewNopSettings(metadata.Type), consumertest.NewNop()}})
	require.NoError(t, err)
	r.start()
	require.NoError(t, r.stop(t.Context()))
	require.Equal(t, 1, n.opened)
	require.Equal(t, 1, n.closed)
}
