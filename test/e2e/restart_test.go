// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// TestRestart ends the collector under load, once as an update does and once with SIGKILL, and starts it again.
// What the lives of the collector counted together is never more than the applications did, and what is missing is
// not more than what went on while there was no collector. A connection that lasts over the restarts is reported by all
// lives, each of its bytes by at most one.
func TestRestart(t *testing.T) {
	const (
		atOnce     = 4
		lastSecond = 600 // more connections than are made in the interval that SIGKILL takes
	)
	client, targets, counted := loadHosts(t)
	s := startStack(t)
	lasting := lastingConnection(t, client, targets[0], counted)

	load := startLoad(t, client, targets, 2*time.Millisecond, atOnce, counted)
	var gap int64 // connections that began between the request to stop and the new start
	for life, end := range []func(){s.collector.stop, s.collector.kill} {
		lasting.send(1000)
		arrives(t, s, counted, counted.client.connections.Load()/2)
		before := counted.client.connections.Load()
		end()
		// Each life has series of its own, so that their sum is what all reported.
		s.collector.env = append(s.collector.env, fmt.Sprintf("E2E_NODE=e2e-node-%d", life+2))
		s.collector.launch()
		gap += counted.client.connections.Load() - before
	}
	lasting.send(1000)
	began := counted.client.connections.Load()
	eventually(t, func(c *assert.CollectT) {
		assert.Greater(c, counted.client.connections.Load(), began+500, "connections of the last life")
	})
	load.end()
	lasting.close()
	s.collector.stop()

	// SIGKILL takes what was read since the last flush with it, one second of it here.
	got, err := s.prometheus.sums("")
	require.NoError(t, err)
	for reporter, want := range map[string]sums{"source": of(&counted.client), "destination": of(&counted.server)} {
		got := got[reporter]
		t.Logf("reporter %-12s applications %+v, the collector's lives %+v, %d connections in the gaps", reporter, want, got, gap)
		assert.LessOrEqual(t, got.opened, want.opened, "opened twice")
		assert.LessOrEqual(t, got.closed, want.closed, "closed twice")
		assert.LessOrEqual(t, got.sent, want.sent, "bytes counted twice")
		assert.LessOrEqual(t, got.received, want.received, "bytes counted twice")
		assert.GreaterOrEqual(t, got.closed, want.closed-gap-lastSecond, "closes missing beyond the gaps")
	}
}

// lasting is a connection that is open during a whole test.
type lasting struct {
	t     testing.TB
	conn  *net.TCPConn
	count *count
}

// lastingConnection opens one; the server reads it to its end, which close makes.
func lastingConnection(t testing.TB, from *testhost.Host, address string, counted *tally) *lasting {
	t.Helper()
	conn, err := dial(from, address)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Time{}))
	counted.client.connections.Add(1)
	t.Cleanup(func() { _ = conn.Close() })
	return &lasting{t: t, conn: conn, count: &counted.client}
}

func (l *lasting) send(n int64) {
	l.t.Helper()
	sent, err := write(l.conn, n)
	require.NoError(l.t, err)
	l.count.sent.Add(sent)
}

// close ends the request, and reads the answer to its end.
func (l *lasting) close() {
	l.t.Helper()
	require.NoError(l.t, l.conn.CloseWrite())
	received, err := io.Copy(io.Discard, l.conn)
	require.NoError(l.t, err)
	l.count.received.Add(received)
	require.NoError(l.t, l.conn.Close())
}
