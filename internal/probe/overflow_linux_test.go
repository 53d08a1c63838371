// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// balance sheet of one direction, of records and of totals that came by the spill map.
type sheet struct{ opened, closed, failed, sent, received uint64 }

func (s *sheet) add(kind uint64, failed bool, delta *Counters) {
	if failed {
		s.failed += kind
	} else {
		s.closed += kind
	}
	s.opened += delta.Opened
	s.sent += delta.Sent
	s.received += delta.Received
}

// settle reads all that the probe has of this process, by direction, and how many
// records of ends there were.
func settle(t *testing.T, p *Probe) (sheets map[Direction]*sheet, logged uint64) {
	t.Helper()
	sheets = map[Direction]*sheet{Outbound: {}, Inbound: {}}
	require.NoError(t, p.Read(time.Now(), func(r *Record) {
		if ours(r) {
			logged++
			sheets[r.Direction].add(1, r.Kind == KindFailed, &r.Delta)
		}
	}))
	require.NoError(t, p.Drain(func(s *Spilled) {
		if s.Key.Process.Pid == uint32(os.Getpid()) {
			sheets[s.Key.Direction].add(s.Totals.Ends, s.Key.Failed != 0, &s.Totals.Delta)
		}
	}))
	return sheets, logged
}

// TestAReaderThatStandsStillLosesNoTotals makes connections at the full rate of one CPU
// for some ten seconds, with a ring of one page that nobody reads.
func TestAReaderThatStandsStillLosesNoTotals(t *testing.T) {
	connections, refusals := uint64(200_000), uint64(1000)
	if testing.Short() { // an emulated machine takes minutes for them
		connections = 5000
	}
	p := open(t, Options{EndsBytes: 4096})
	host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
	host.Run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0")
	var up, down uint64
	var err error
	began := time.Now()
	host.Do(func() {
		if up, down, err = churn(int(connections)); err == nil {
			err = refuse(int(refusals))
		}
	})
	took := time.Since(began)
	require.NoError(t, err)

	sheets, logged := settle(t, p)
	assert.Equal(t, &sheet{connections, connections, refusals, up, down}, sheets[Outbound])
	assert.Equal(t, &sheet{connections, connections, 0, down, up}, sheets[Inbound])
	tally, err := p.Tally()
	require.NoError(t, err)
	// What else runs here is in the tally too; where nothing does, they are equal.
	assert.GreaterOrEqual(t, tally.Lost+logged, 2*connections+refusals)
	assert.Zero(t, tally.SpillLost)
	t.Logf("%d connections and %d refusals in %s: %d records, %d lost and counted, all totals there",
		connections, refusals, took.Round(time.Millisecond), logged, tally.Lost)
}

func TestWhatTheSpillMapHasNoRoomForIsCounted(t *testing.T) {
	const entries, ports = 4, 32
	p := open(t, Options{EndsBytes: 4096, SpillEntries: entries})
	host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
	host.Run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0")
	var err error
	host.Do(func() {
		if _, _, err = churn(100); err != nil { // fills the ring
			return
		}
		for port := range ports {
			if err = refuseAt(1000 + port); err != nil {
				return
			}
		}
	})
	require.NoError(t, err)

	sheets, _ := settle(t, p)
	tally, err := p.Tally()
	require.NoError(t, err)
	assert.Positive(t, tally.SpillLostFailed, "the spill map must have been full, or this shows nothing")
	assert.GreaterOrEqual(t, sheets[Outbound].failed+tally.SpillLostFailed, uint64(ports))
	assert.LessOrEqual(t, sheets[Outbound].failed, uint64(entries))
	// After the map was read there is room again.
	host.Do(func() { err = refuseAt(999) })
	require.NoError(t, err)
	again := readUntil(t, p, toPort(999), atLeast(1))
	assert.Len(t, again, 1)
}

// refuse makes connects to a port where nobody listens.
func refuse(n int) error {
	for range n {
		if err := refuseAt(81); err != nil {
			return err
		}
	}
	return nil
}

func refuseAt(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	address := &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr("10.244.0.11").As4()}
	if err := unix.Connect(fd, address); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("a connect that should be refused: %w", err)
	}
	return nil
}
