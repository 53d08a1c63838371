// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// limits are the rows of docs/limits.md: a number or a duration, and where it comes from.
func limits(t *testing.T) (all map[string]int64) {
	t.Helper()
	all = make(map[string]int64)
	text := read(t, "docs/limits.md")
	for _, title := range []string{"In the kernel", "Memory of the connection maps", "Reading", "Naming", "Series", "Delivery", "The live map"} {
		of := rows(text, title)
		require.NotEmpty(t, of, title)
		for _, row := range of[1:] {
			require.Len(t, row, 4, row[0])
			source := strings.Trim(row[3], "`")
			require.NotContains(t, all, source)
			all[source] = quantity(t, row[1])
		}
	}
	return all
}

// quantity reads a value of the table: 1,024, 4 MiB, 500 ms, 1,024 bytes.
func quantity(t *testing.T, text string) int64 {
	t.Helper()
	number, unit, _ := strings.Cut(text, " ")
	value, err := strconv.ParseInt(strings.ReplaceAll(number, ",", ""), 10, 64)
	require.NoError(t, err)
	factor, known := map[string]int64{
		"": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20,
		"ms": int64(time.Millisecond), "s": int64(time.Second), "min": int64(time.Minute),
	}[unit]
	require.True(t, known, "unit of %q", text)
	return value * factor
}

func TestTheLimitsAreThoseOfTheCode(t *testing.T) {
	constants := constants(t)
	programs, err := bpf.LoadTCP()
	require.NoError(t, err)
	for source, documented := range limits(t) {
		of, name, isMap := strings.Cut(source, " ")
		if !isMap {
			value, found := constants[source]
			require.True(t, found, "no constant %s, or several of different values", source)
			assert.Equal(t, value, documented, source)
			continue
		}
		spec := programs.Maps[name]
		require.NotNil(t, spec, source)
		if of == "map" {
			assert.Equal(t, int64(spec.MaxEntries), documented, source)
		} else {
			assert.Equal(t, memory(t, of, spec.InnerMap), documented, source)
		}
	}
	maps := programs.Maps["connection_maps"]
	assert.Equal(t, constants["DefaultMaxConnections"], int64(maps.MaxEntries*maps.InnerMap.MaxEntries), "the default is what is compiled")
}

// memory is what a hash map takes for an element, and for a bucket; internal/probe compares both with the kernel.
func memory(t *testing.T, of string, spec *ebpf.MapSpec) int64 {
	t.Helper()
	const head, node = 48, 8 // struct htab_elem, and what the kernel's allocator puts before each
	switch of {
	case "bucket":
		return 16
	case "element":
		size := int64(head + node + spec.KeySize + spec.ValueSize)
		for _, class := range []int64{64, 96, 128, 192, 256, 512} { // of the kernel's allocator
			if size <= class {
				return class
			}
		}
	}
	t.Fatalf("the memory of %q is not known", of)
	return 0
}

// constants are the integer constants of the product's packages, by name and by package.name. A name with several values
// is left out.
func constants(t *testing.T) map[string]int64 {
	t.Helper()
	all, several := make(map[string]int64), make(map[string]bool)
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") || !strings.HasPrefix(file, "exporter/") && !strings.HasPrefix(file, "internal/") && !strings.HasPrefix(file, "receiver/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repository, file), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, declaration := range parsed.Decls {
			group, is := declaration.(*ast.GenDecl)
			if !is || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				for i, name := range spec.(*ast.ValueSpec).Names {
					values := spec.(*ast.ValueSpec).Values
					if i >= len(values) {
						continue
					}
					value, known := evaluate(values[i])
					for _, key := range []string{name.Name, path.Base(path.Dir(file)) + "." + name.Name} {
						if before, seen := all[key]; seen && (!known || before != value) {
							several[key] = true
						} else if known {
							all[key] = value
						}
					}
				}
			}
		}
	}
	for name := range several {
		delete(all, name)
	}
	return all
}

// evaluate computes an expression of integers and units of time.
func evaluate(expression ast.Expr) (int64, bool) {
	switch e := expression.(type) {
	case *ast.BasicLit:
		value, err := strconv.ParseInt(e.Value, 0, 64)
		return value, err == nil
	case *ast.ParenExpr:
		return evaluate(e.X)
	case *ast.SelectorExpr:
		value, known := map[string]time.Duration{
			"Microsecond": time.Microsecond, "Millisecond": time.Millisecond,
			"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
		}[e.Sel.Name]
		return int64(value), known
	case *ast.BinaryExpr:
		x, knownX := evaluate(e.X)
		y, knownY := evaluate(e.Y)
		switch {
		case !knownX || !knownY:
			return 0, false
		case e.Op == token.MUL:
			return x * y, true
		case e.Op == token.SHL:
			return x << y, true
		case e.Op == token.ADD:
			return x + y, true
		}
	}
	return 0, false
}
