// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// asQuery matches lines that must be part of a query, whatever finds those.
var asQuery = regexp.MustCompile(`\bby \(\w+[,)]|_over_time\(|\b(?:rate|increase)\(\w|[\w:]+\{[a-z_]+=~?"|\{service_name=|\bquery: '`)

// TestEveryQueryIsFound looks for lines that look like a query, in everything that a user reads, and fails for those that no test runs.
func TestEveryQueryIsFound(t *testing.T) {
	collapse := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	var run strings.Builder
	for _, q := range allQueries(t) {
		run.WriteString(collapse(q.expression) + "\n")
	}
	files := append(documents(t), "../../deploy/grafana/datasources.yaml", "../../deploy/helm/otelcol-kmesh/values.yaml",
		"../../deploy/helm/otelcol-kmesh/templates/NOTES.txt")
	found := 0
	for _, path := range files {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			for _, text := range candidates(filepath.Ext(path), line) {
				found++
				require.Contains(t, run.String(), collapse(variables.Replace(text)), path)
			}
		}
	}
	require.Greater(t, found, 20)
}

// candidates are the parts of a line that look like a query.
func candidates(extension, line string) (all []string) {
	line = strings.TrimRight(line, "\n")
	parts := []string{remark.ReplaceAllString(strings.TrimSpace(line), "")}
	switch {
	case inSource.MatchString(line):
		parts = []string{inSource.FindStringSubmatch(line)[1]}
	case inComment.MatchString(line):
		parts = []string{inComment.FindStringSubmatch(line)[1]}
	case extension == ".md" && strings.Contains(line, "`"):
		parts = nil
		for _, span := range inline.FindAllStringSubmatch(line, -1) {
			parts = append(parts, span[1])
		}
	}
	for _, part := range parts {
		// A sample of output ends in its value.
		if asQuery.MatchString(part) && !notAQuery.MatchString(part) && !regexp.MustCompile(`\} \d+$`).MatchString(part) {
			all = append(all, part)
		}
	}
	return all
}
