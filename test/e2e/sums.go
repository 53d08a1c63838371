// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sums are the four numbers of one side, as one of the parties knows them.
type sums struct{ opened, closed, sent, received int64 }

// of gives what the applications of a side counted, once they closed everything.
func of(c *count) sums {
	n := c.connections.Load()
	return sums{opened: n, closed: n, sent: c.sent.Load(), received: c.received.Load()}
}

// requireEqualSums waits until both sets in Prometheus and the lines in Loki come to what the applications counted,
// and checks that they still do when the collector has stopped and delivered all it had.
func requireEqualSums(t testing.TB, s *stack, counted *tally) {
	t.Helper()
	eventually(t, func(c *assert.CollectT) { compare(c, s, counted) })
	s.collector.stop()
	compare(t, s, counted)
	printSums(t, s, counted)
}

// compare asserts one after the other what the parties know.
func compare(t require.TestingT, s *stack, counted *tally) {
	want := map[string]sums{"source": of(&counted.client), "destination": of(&counted.server)}
	for _, set := range []string{"", "workload_"} {
		got, err := s.prometheus.sums(set)
		require.NoError(t, err)
		require.Equal(t, want, got, "Prometheus, kmesh_tcp_%s*", set)
	}
	got, err := s.loki.counted()
	require.NoError(t, err)
	require.Equal(t, want, got, "Loki")
}

func printSums(t testing.TB, s *stack, counted *tally) {
	t.Helper()
	service, err := s.prometheus.sums("")
	require.NoError(t, err)
	workload, err := s.prometheus.sums("workload_")
	require.NoError(t, err)
	lines, err := s.loki.counted()
	require.NoError(t, err)
	for _, side := range []struct {
		reporter string
		count    *count
	}{{"source", &counted.client}, {"destination", &counted.server}} {
		t.Logf("reporter %-12s %-24s %+v", side.reporter, "applications", of(side.count))
		t.Logf("reporter %-12s %-24s %+v", side.reporter, "Prometheus service set", service[side.reporter])
		t.Logf("reporter %-12s %-24s %+v", side.reporter, "Prometheus workload set", workload[side.reporter])
		t.Logf("reporter %-12s %-24s %+v", side.reporter, "Loki", lines[side.reporter])
	}
}

// fieldsOfSums are the metrics that have the four numbers, less what their names begin with.
var fieldsOfSums = map[string]func(*sums) *int64{
	"connections_opened_total": func(s *sums) *int64 { return &s.opened },
	"connections_closed_total": func(s *sums) *int64 { return &s.closed },
	"sent_bytes_total":         func(s *sums) *int64 { return &s.sent },
	"received_bytes_total":     func(s *sums) *int64 { return &s.received },
}

// sums returns a set's sums over the load's connections, by reporter. prefix is `workload_` or nothing. The last value
// of a series counts, also when the collector ended it since.
func (p *prometheus) sums(prefix string) (map[string]sums, error) {
	got := map[string]sums{}
	for metric, field := range fieldsOfSums {
		samples, err := p.query(fmt.Sprintf(
			`sum by (reporter) (last_over_time(kmesh_tcp_%s%s{source_workload="client",destination_workload="server"}[1h]))`,
			prefix, metric))
		if err != nil {
			return nil, err
		}
		if err := add(got, "reporter", samples, field); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// reporters are the metrics' names of the access log's directions.
var reporters = map[string]string{"OUTBOUND": "source", "INBOUND": "destination"}

// counted gives what the lines of the load's closed connections come to, by reporter. The access log has no line for
// an opened connection here: opened is closed.
func (l *loki) counted() (map[string]sums, error) {
	const closed = `{service_name="kmesh"} | src_namespace="load" | dst_namespace="load" | event="closed"`
	got := map[string]sums{}
	for expression, field := range map[string]func(*sums) *int64{
		`sum by (direction) (count_over_time(` + closed + ` [1h]))`:                       func(s *sums) *int64 { return &s.closed },
		`sum by (direction) (sum_over_time(` + closed + ` | unwrap sent_bytes [1h]))`:     func(s *sums) *int64 { return &s.sent },
		`sum by (direction) (sum_over_time(` + closed + ` | unwrap received_bytes [1h]))`: func(s *sums) *int64 { return &s.received },
	} {
		samples, err := l.sums(expression)
		if err != nil {
			return nil, err
		}
		for i := range samples {
			samples[i].labels["reporter"] = reporters[samples[i].labels["direction"]]
		}
		if err := add(got, "reporter", samples, field); err != nil {
			return nil, err
		}
	}
	for reporter, s := range got {
		s.opened = s.closed
		got[reporter] = s
	}
	return got, nil
}

// add sets the field of each label value's sums.
func add(to map[string]sums, label string, samples []sample, field func(*sums) *int64) error {
	values, err := by(label, samples)
	if err != nil {
		return err
	}
	for key, value := range values {
		s := to[key]
		*field(&s) = value
		to[key] = s
	}
	return nil
}
