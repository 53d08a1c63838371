// SPDX-License-Identifier: Apache-2.0

//go:build e2e && traces

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"testing"
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
	port, otlp := freePort(t), freePort(t)
	j := &jaeger{url: fmt.Sprintf("http://127.0.0.1:%d", port), otlp: fmt.Sprintf("127.0.0.1:%d", otlp)}
	j.program = program{
		name: "jaeger",
		path: jaegerPath,
		args: []string{"--config", filepath.Join(configurations, "jaeger.yaml")},
		env: []string{
			fmt.Sprintf("E2E_PORT=%d", port),
			fmt.Sprintf("E2E_GRPC_PORT=%d", freePort(t)),
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
	body, err := get(j.url + "/api/traces?" + url.Values{"service": {service}, "limit": {strconv.Itoa(limit)}, "lookback": {"1h"}}.Encode())
	if err != nil {
		return nil, err
	}
	var answer struct{ Data []jaegerTrace }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("traces of %s: %w", service, err)
	}
	return answer.Data, nil
}
