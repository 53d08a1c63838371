// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const toHttpbin = `{service_name="kmesh"} | src_workload="sleep-7656cf8794-4fqx2"` +
	` | dst_service="httpbin.default.svc.cluster.local"`

// bodyEnd is what follows the part of the body that the test knows.
var bodyEnd = map[string]*regexp.Regexp{
	"closed": regexp.MustCompile(`^([0-9.]+(?:ns|µs|ms|s))$`),
	"failed": regexp.MustCompile(`^([0-9.]+(?:ns|µs|ms|s)), event=failed, error\.type=connection_refused$`),
}

// testAccessLog compares the lines of both ends with what the client saw.
func testAccessLog(t *testing.T, l *loki, begin time.Time, closed ...ended) {
	for _, direction := range []string{"OUTBOUND", "INBOUND"} {
		t.Run(direction, func(t *testing.T) {
			query := toHttpbin + fmt.Sprintf(` | direction=%q`, direction)
			want := len(closed)
			if direction == "OUTBOUND" {
				want++ // the refused connect, which only its own end knows
			}
			var lines []line
			eventually(t, func(c *assert.CollectT) {
				var err error
				lines, err = l.lines(query)
				require.NoError(c, err)
				require.Len(c, lines, want)
			})
			t.Logf("LogQL: %s", query)
			bySource := map[string]line{}
			for _, line := range lines {
				t.Logf("Loki: %s %s", line.at.UTC().Format(time.RFC3339Nano), line.body)
				bySource[line.labels["src_addr"]] = line
				testLine(t, line, direction, begin)
			}
			for _, connection := range closed {
				require.Contains(t, bySource, connection.local)
				testEnd(t, bySource[connection.local], direction, connection)
			}
		})
	}
	t.Run("failed", func(t *testing.T) {
		lines, err := l.lines(toHttpbin + ` | event="failed"`)
		require.NoError(t, err)
		require.Len(t, lines, 1)
		labels := lines[0].labels
		assert.Equal(t, "connection_refused", labels["error_type"])
		assert.Equal(t, "10.244.0.11:81", labels["dst_addr"])
		assert.Equal(t, "0", labels["sent_bytes"])
		assert.Equal(t, "0", labels["received_bytes"])
		assert.Equal(t, "WARN", labels["severity_text"])
	})
	t.Run("duration", func(t *testing.T) { testDuration(t, l, closed[len(closed)-1]) })
}

// testLine checks what every line of this scenario has, and the body against the attributes.
func testLine(t *testing.T, line line, direction string, begin time.Time) {
	t.Helper()
	a := line.labels
	assert.Equal(t, direction, a["direction"])
	assert.Equal(t, "default", a["src_namespace"])
	assert.Equal(t, "httpbin-5c5944c58c-v9mlk", a["dst_workload"])
	assert.Equal(t, "default", a["dst_namespace"])
	assert.Equal(t, "BPF_TCP_CLOSE", a["state"])
	assert.Equal(t, "Kubernetes", a["src_cluster"])
	assert.Equal(t, "Kubernetes", a["dst_cluster"])
	assert.NotEmpty(t, a["connection_id"])

	known := fmt.Sprintf("src.addr=%s, src.workload=sleep-7656cf8794-4fqx2, src.namespace=default, dst.addr=%s, "+
		"dst.service=httpbin.default.svc.cluster.local, dst.workload=httpbin-5c5944c58c-v9mlk, dst.namespace=default, "+
		"direction=%s, sent_bytes=%s, received_bytes=%s, duration=",
		a["src_addr"], a["dst_addr"], direction, a["sent_bytes"], a["received_bytes"])
	require.Equal(t, known, line.body[:min(len(known), len(line.body))])
	require.Contains(t, bodyEnd, a["event"])
	rest := bodyEnd[a["event"]].FindStringSubmatch(line.body[len(known):])
	require.NotNil(t, rest, "the end of %q", line.body)
	assert.Equal(t, a["duration"], rest[1])

	duration, err := time.ParseDuration(a["duration"])
	require.NoError(t, err)
	start, err := time.Parse(time.RFC3339Nano, a["start_time"])
	require.NoError(t, err)
	assert.Positive(t, duration)
	assert.WithinRange(t, start, begin, time.Now())
	// The event's time is the start's and the duration's sum, whatever the clock did since.
	assert.WithinDuration(t, start.Add(duration), line.at, time.Millisecond)
}

// testEnd compares the line of a closed connection's end with what its client saw.
func testEnd(t *testing.T, line line, direction string, c ended) {
	t.Helper()
	a := line.labels
	sent, received, retransmits := c.sent, c.recvd, c.retransmits
	if direction == "INBOUND" {
		sent, received, retransmits = received, sent, 0
	}
	assert.Equal(t, "closed", a["event"])
	assert.Equal(t, "fin", a["close_reason"])
	assert.Equal(t, "10.244.0.11:80", a["dst_addr"])
	assert.Equal(t, strconv.FormatInt(sent, 10), a["sent_bytes"])
	assert.Equal(t, strconv.FormatInt(received, 10), a["received_bytes"])
	assert.Equal(t, strconv.FormatInt(retransmits, 10), a["retransmissions"])
	for _, key := range []string{"srtt", "min_rtt"} {
		rtt, err := time.ParseDuration(a[key])
		require.NoError(t, err, key)
		assert.Positive(t, rtt, key)
	}
	if direction == "OUTBOUND" {
		duration, err := time.ParseDuration(a["duration"])
		require.NoError(t, err)
		assert.LessOrEqual(t, duration, c.took, "longer than the application saw")
	}
}

// testDuration selects by the duration, as LogQL compares it.
func testDuration(t *testing.T, l *loki, long ended) {
	all, err := l.lines(toHttpbin)
	require.NoError(t, err)
	quick, err := l.lines(toHttpbin + ` | duration <= 1ms`)
	require.NoError(t, err)
	slow, err := l.lines(toHttpbin + ` | duration > 1ms`)
	require.NoError(t, err)
	assert.Len(t, all, len(quick)+len(slow))

	var directions []string
	for _, line := range slow {
		t.Logf("duration > 1ms: %s", line.body)
		duration, err := time.ParseDuration(line.labels["duration"])
		require.NoError(t, err)
		assert.Greater(t, duration, time.Millisecond)
		assert.Empty(t, line.labels["__error__"])
		if line.labels["src_addr"] == long.local {
			directions = append(directions, line.labels["direction"])
		}
	}
	assert.ElementsMatch(t, []string{"OUTBOUND", "INBOUND"}, directions, "both ends of the connection with losses")
}
