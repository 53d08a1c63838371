// SPDX-License-Identifier: Apache-2.0

//go:build e2e && traces

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testExemplars follows exemplars of histograms in Prometheus to log lines in Loki and spans in Jaeger, which have the value.
func testExemplars(t *testing.T, p *prometheus, l *loki, j *jaeger) {
	for metric, value := range map[string]func(field func(string) time.Duration) time.Duration{
		"kmesh_tcp_connect_duration_seconds": func(field func(string) time.Duration) time.Duration { return field("connect_duration") },
		"kmesh_tcp_rtt_seconds":              func(field func(string) time.Duration) time.Duration { return field("srtt") },
		"kmesh_tcp_connection_duration_seconds": func(field func(string) time.Duration) time.Duration {
			return field("duration") - field("connect_duration")
		},
	} {
		var found exemplar
		var line line
		eventually(t, func(a *assert.CollectT) {
			all, err := p.exemplars(metric + `{reporter="source",destination_workload="server"}`)
			require.NoError(a, err)
			require.NotEmpty(a, all, metric)
			found = all[len(all)-1]
			lines, err := l.lines(fmt.Sprintf("{service_name=\"kmesh\"} | trace_id=%q | span_id=%q", found.labels["trace_id"], found.labels["span_id"]))
			require.NoError(a, err)
			require.Len(a, lines, 1, "%s: %v", metric, found)
			line = lines[0]
		})
		trace, err := j.trace(found.labels["trace_id"])
		require.NoError(t, err)
		at := slices.IndexFunc(trace.Spans, func(s jaegerSpan) bool { return s.SpanID == found.labels["span_id"] })
		require.GreaterOrEqual(t, at, 0, "%v: %s", found, trace)
		span := trace.Spans[at]
		require.Equal(t, "client", span.tag("span.kind"))
		require.Equal(t, line.labels["connection_id"], span.tag("connection.id"))

		want := value(func(name string) time.Duration {
			text, has := line.labels[name]
			if !has {
				return 0
			}
			d, err := time.ParseDuration(text)
			require.NoError(t, err, name)
			return d
		})
		// srtt is in whole microseconds in the line, and in eighths of one in the histogram.
		require.InDelta(t, want.Seconds(), found.value, 1e-6, metric)
		t.Logf("%s: %v leads to %s\n%s", metric, found, line.body, trace)
	}
}
