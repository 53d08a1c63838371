// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	testName   = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]+)`")
	makeTarget = regexp.MustCompile(`\bmake ([a-z][a-z0-9-]+)`)
	ourPath    = regexp.MustCompile(`^(?:\./)?((?:bpf|internal|receiver|exporter|test|testdata|deploy|docs|\.ci|\.github)/[A-Za-z0-9_./-]+)$`)
	instrument = regexp.MustCompile(`\botelcol_(kmesh_[a-z_]+[a-z])\b`)
)

func TestEveryTestThatIsNamedExists(t *testing.T) {
	var sources strings.Builder
	for _, file := range files(t, "_test.go") {
		sources.WriteString(read(t, file))
	}
	for _, file := range files(t, ".md") {
		for _, found := range testName.FindAllStringSubmatch(read(t, file), -1) {
			assert.True(t, strings.Contains(sources.String(), "func "+found[1]+"("), "%s names %s", file, found[1])
		}
	}
}

// Only code says `make X`; prose may make anything.
func TestEveryMakeTargetThatIsNamedExists(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, file := range files(t, ".md") {
		text := read(t, file)
		code := fence.FindAllString(text, -1)
		for _, found := range span.FindAllStringSubmatch(prose(text), -1) {
			code = append(code, found[1])
		}
		for _, found := range makeTarget.FindAllStringSubmatch(strings.Join(code, "\n"), -1) {
			assert.True(t, strings.Contains(makefile, "\n"+found[1]+":"), "%s names make %s", file, found[1])
		}
	}
}

// invented are the folders of the recipes' examples.
var invented = []string{"internal/identity/consul", "internal/spans"}

func TestEveryPathThatIsNamedExists(t *testing.T) {
	for _, file := range files(t, ".md") {
		for _, found := range span.FindAllStringSubmatch(prose(read(t, file)), -1) {
			path := ourPath.FindStringSubmatch(found[1])
			if path == nil || slices.Contains(invented, strings.TrimSuffix(path[1], "/")) || slices.Contains(awaited, path[1]) {
				continue
			}
			_, err := os.Stat(filepath.Join(repository, path[1]))
			assert.NoError(t, err, "%s names %s", file, found[1])
		}
	}
}

func TestEveryInstrumentThatIsNamedExists(t *testing.T) {
	metadata := read(t, "receiver/kmeshreceiver/metadata.yaml")
	named := 0
	for _, file := range files(t, ".md") {
		for _, found := range instrument.FindAllStringSubmatch(read(t, file), -1) {
			// Suffixes that exporters add.
			name := strings.TrimSuffix(strings.TrimSuffix(found[1], "_total"), "_ratio")
			assert.True(t, strings.Contains(metadata, "    "+name+":"), "%s names %s", file, found[0])
			named++
		}
	}
	require.Positive(t, named)
}
