// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	root   = "../.."
	module = "github.com/kmesh-net/otelcol-kmesh/"
)

// arrows are pairs of packages, as "internal/series --> internal/flow".
type arrows map[string]bool

func (a arrows) sorted() []string { return slices.Sorted(maps.Keys(a)) }

// product are the folders of what ships. A package there is two levels deep, with all that is below it, but bpf.
var product = []string{"bpf", "internal", "receiver", "exporter", "extension"}

// packageOf returns the package of the drawing that a folder belongs to.
func packageOf(folder string) string {
	parts := strings.SplitN(filepath.ToSlash(folder), "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// imports returns the packages of the product, and what they import of each other for any platform, tests aside.
func imports(t *testing.T) (packages map[string]bool, all arrows) {
	t.Helper()
	packages, all = make(map[string]bool), make(arrows)
	for _, top := range product {
		if _, err := os.Stat(filepath.Join(root, top)); os.IsNotExist(err) {
			continue
		}
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); entry.IsDir() && err == nil {
				return fs.SkipDir // a module of its own: nothing of the product
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			folder, err := filepath.Rel(root, filepath.Dir(path))
			require.NoError(t, err)
			from := packageOf(folder)
			packages[from] = true
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			require.NoError(t, err)
			for _, spec := range file.Imports {
				ours, is := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
				if to := packageOf(ours); is && to != from {
					all[from+" --> "+to] = true
				}
			}
			return nil
		}))
	}
	return packages, all
}

var (
	drawing = regexp.MustCompile("(?s)```mermaid\n(.*?)```")
	node    = regexp.MustCompile(`(\w+)\["([^"]+)"\]`)
	arrow   = regexp.MustCompile(`^(\w+) --> ([\w &]+)$`)
)

// drawn returns the packages and the arrows of the drawing.
func drawn(t *testing.T) (packages map[string]bool, all arrows) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	require.NoError(t, err)
	found := drawing.FindAllSubmatch(text, -1)
	require.Len(t, found, 1, "one drawing")
	packages, all = make(map[string]bool), make(arrows)
	names := make(map[string]string) // of nodes
	for _, n := range node.FindAllSubmatch(found[0][1], -1) {
		names[string(n[1])] = string(n[2])
		packages[string(n[2])] = true
	}
	for line := range strings.Lines(string(found[0][1])) {
		line = strings.TrimSpace(line)
		if !strings.Contains(line, "-->") {
			continue
		}
		parts := arrow.FindStringSubmatch(line)
		require.NotNil(t, parts, "this test does not read %q", line)
		for to := range strings.SplitSeq(parts[2], " & ") {
			require.Contains(t, names, parts[1])
			require.Contains(t, names, to)
			all[names[parts[1]]+" --> "+names[to]] = true
		}
	}
	return packages, all
}

func TestTheDrawingShowsThePackagesAndTheirImports(t *testing.T) {
	packages, all := imports(t)
	drawnPackages, drawnArrows := drawn(t)
	require.Contains(t, packages, "internal/series")
	assert.Equal(t, slices.Sorted(maps.Keys(packages)), slices.Sorted(maps.Keys(drawnPackages)))
	assert.Equal(t, all.sorted(), drawnArrows.sorted())
}

func TestImportsRunOneWay(t *testing.T) {
	_, all := imports(t)
	above := make(map[string][]string) // who imports a package
	for one := range all {
		from, to, _ := strings.Cut(one, " --> ")
		above[to] = append(above[to], from)
	}
	var climb func(from string, path []string)
	climb = func(from string, path []string) {
		for _, importer := range above[from] {
			require.NotContains(t, path, importer, "a circle through %v", path)
			climb(importer, append(slices.Clone(path), importer))
		}
	}
	for name := range above {
		climb(name, []string{name})
	}
}
