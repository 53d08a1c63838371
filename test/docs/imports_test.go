// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/kmesh-net/otelcol-kmesh/"

// stage returns the package that a folder belongs to, with its sub-packages: internal/identity for internal/identity/file.
func stage(folder string) string {
	parts := strings.SplitN(folder, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// imported returns what each stage of the product imports of the others, tests aside.
func imported(t *testing.T) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for _, file := range files(t, ".go") {
		from := stage(path.Dir(file))
		top, _, _ := strings.Cut(file, "/")
		if strings.HasSuffix(file, "_test.go") || !slices.Contains([]string{"bpf", "internal", "receiver", "exporter"}, top) {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repository, file), nil, parser.ImportsOnly)
		require.NoError(t, err)
		if _, known := all[from]; !known {
			all[from] = nil
		}
		for _, spec := range parsed.Imports {
			ours, is := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
			if to := stage(ours); is && to != from && !slices.Contains(all[from], to) {
				all[from] = append(all[from], to)
			}
		}
	}
	return all
}

func TestTheTableOfPackagesHasTheImportsOfTheSource(t *testing.T) {
	documented := make(map[string][]string)
	for _, row := range rows(read(t, "docs/architecture.md"), "Packages")[1:] {
		require.Len(t, row, 3)
		var to []string
		for _, found := range span.FindAllStringSubmatch(row[2], -1) {
			to = append(to, found[1])
		}
		documented[strings.Trim(row[0], "`")] = to
	}
	actual := imported(t)
	for from, to := range actual {
		assert.Contains(t, documented, from)
		assert.ElementsMatch(t, to, documented[from], from)
	}
	assert.Len(t, documented, len(actual))
}
