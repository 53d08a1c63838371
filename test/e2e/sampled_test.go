// SPDX-License-Identifier: Apache-2.0

//go:build e2e && traces

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func testSampling(t *testing.T, dir string, hidden int) {
	files := []string{"client-traces", "server-traces", "client-logs", "server-logs"}
	var kept map[string]bool
	eventually(t, func(a *assert.CollectT) {
		kept = sampledIDs(a, filepath.Join(dir, files[0]))
		for _, file := range files[1:] {
			other := sampledIDs(a, filepath.Join(dir, file))
			different := 0
			for id := range kept {
				if !other[id] {
					different++
				}
			}
			for id := range other {
				if !kept[id] {
					different++
				}
			}
			require.LessOrEqual(a, different, hidden, file)
		}
	})
	// 202 are expected; six standard deviations are 81.
	assert.InDelta(t, tracedPairs/10, len(kept), 81)
	t.Logf("%d of %d connections kept, the same ones by both agents in both signals", len(kept), tracedPairs)
}

// sampledIDs returns the ids in a file of traces or logs. A failed connect has one end, so it is left out.
func sampledIDs(t require.TestingT, file string) map[string]bool {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	ids := map[string]bool{}
	keep := func(id pcommon.TraceID, attributes pcommon.Map) {
		if event, _ := attributes.Get("event"); event.Str() == "closed" {
			ids[id.String()] = true
		}
	}
	for line := range bytes.Lines(content) {
		if strings.HasSuffix(file, "traces") {
			batch, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
			require.NoError(t, err)
			for _, resource := range batch.ResourceSpans().All() {
				for _, scope := range resource.ScopeSpans().All() {
					for _, span := range scope.Spans().All() {
						keep(span.TraceID(), span.Attributes())
					}
				}
			}
			continue
		}
		batch, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
		require.NoError(t, err)
		for _, resource := range batch.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					keep(record.TraceID(), record.Attributes())
				}
			}
		}
	}
	return ids
}
