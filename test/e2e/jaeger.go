// SPDX-License-Identifier: Apache-2.0

//go:build e2e && traces

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const jaegerPath = "../../.tools/jaeger"

// jaeger is a real Jaeger of one process that keeps traces in memory.
type jaeger struct {
	program
	url  string
	otlp string // where it receives spans
}

func startJaeger(t testing.TB) *jaeger {
	t.Helper()
	port, otlp := testhost.FreePort(t), testhost.FreePort(t)
	j := &jaeger{url: fmt.Sprintf("http://127.0.0.1:%d", port), otlp: fmt.Sprintf("127.0.0.1:%d", otlp)}
	j.program = program{
		name: "jaeger",
		path: jaegerPath,
		args: []string{"--config", filepath.Join(configurations, "jaeger.yaml")},
		env: []string{
			fmt.Sprintf("E2E_PORT=%d", port),
			fmt.Sprintf("E2E_GRPC_PORT=%d", testhost.FreePort(t)),
			fmt.Sprintf("E2E_OTLP_PORT=%d", otlp),
		},
		ready: j.url + "/api/services",
	}
	j.start(t)
	return j
}

// jaegerTrace is a trace as Jaeger's query API answers it.
type jaegerTrace struct {
	TraceID   string
	Spans     []jaegerSpan
	Processes map[string]struct{ ServiceName string }
}

type jaegerSpan struct {
	SpanID, OperationName, ProcessID string
	References                       []struct{ RefType, TraceID, SpanID string }
	StartTime, Duration              int64 // µs
	Tags                             []struct {
		Key   string
		Value any
	}
}

// tag returns a tag's value; empty: it has none.
func (s jaegerSpan) tag(key string) string {
	for _, t := range s.Tags {
		if t.Key == key {
			return fmt.Sprint(t.Value)
		}
	}
	return ""
}

func (s jaegerSpan) end() int64 { return s.StartTime + s.Duration }

// traces returns the traces with a span of the service, at most limit.
func (j *jaeger) traces(service string, limit int) ([]jaegerTrace, error) {
	return j.ask("/api/traces?" + url.Values{"service": {service}, "limit": {strconv.Itoa(limit)}, "lookback": {"1h"}}.Encode())
}

// trace returns the trace with the id.
func (j *jaeger) trace(id string) (jaegerTrace, error) {
	found, err := j.ask("/api/traces/" + id)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d traces with the id %s", len(found), id)
	}
	if err != nil {
		return jaegerTrace{}, err
	}
	return found[0], nil
}

func (j *jaeger) ask(path string) ([]jaegerTrace, error) {
	body, err := get(j.url + path)
	if err != nil {
		return nil, err
	}
	var answer struct{ Data []jaegerTrace }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return answer.Data, nil
}

// String is the trace as text: a line for each span, with a bar where its time is in the whole.
func (t jaegerTrace) String() string {
	const width = 40
	spans := slices.SortedFunc(slices.Values(t.Spans), func(a, b jaegerSpan) int {
		return cmp.Or(len(a.References)-len(b.References), cmp.Compare(a.StartTime, b.StartTime))
	})
	begin, end := spans[0].StartTime, spans[0].end()
	for _, s := range spans {
		begin, end = min(begin, s.StartTime), max(end, s.end())
	}
	at := func(µs int64) int { return int((µs - begin) * width / max(end-begin, 1)) }
	var text strings.Builder
	fmt.Fprintf(&text, "trace %s, %s\n", t.TraceID, time.Duration(end-begin)*time.Microsecond)
	for depth, s := range spans {
		from, to := at(s.StartTime), at(s.end())
		bar := strings.Repeat(" ", from) + strings.Repeat("=", max(to-from, 1))
		fmt.Fprintf(&text, "  %-12s %-6s |%-*s| %s +%s, %s of %s bytes sent, %s\n",
			strings.Repeat("  ", depth)+t.Processes[s.ProcessID].ServiceName, s.tag("span.kind"), width, bar,
			time.Duration(s.StartTime-begin)*time.Microsecond, time.Duration(s.Duration)*time.Microsecond,
			s.OperationName, s.tag("sent_bytes"), s.tag("close_reason"))
	}
	return text.String()
}
