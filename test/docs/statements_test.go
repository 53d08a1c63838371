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
var invented = []string{"internal/identity/consul", "internal/profiles"}

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
	var metadata string
	for _, file := range files(t, "/metadata.yaml") {
		metadata += read(t, file)
	}
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

// A newcomer installs what .ci/run would install, but for what every machine of a developer has.
func TestTheListOfPackagesIsThatOfTheCheck(t *testing.T) {
	base := []string{"make", "git", "curl", "ca-certificates", "util-linux"}
	_, list, found := strings.Cut(read(t, ".ci/run"), "<<-LIST\n")
	require.True(t, found)
	list, _, _ = strings.Cut(list, "\n\tLIST")
	var checked []string
	for line := range strings.Lines(list) {
		if name := strings.Fields(line)[0]; !slices.Contains(base, name) {
			checked = append(checked, name)
		}
	}
	_, listed, found := strings.Cut(read(t, "CONTRIBUTING.md"), "apt-get install ")
	require.True(t, found)
	listed, _, _ = strings.Cut(listed, "```")
	assert.ElementsMatch(t, checked, strings.Fields(strings.ReplaceAll(listed, "\\", "")))
}

func TestTheReferenceHasEveryFieldOfTheAccessLog(t *testing.T) {
	var written, documented []string
	field := regexp.MustCompile(`(?m)^\t(?:detail\(|\{name: )"([^"]+)"(, use: Span)?`)
	for _, found := range field.FindAllStringSubmatch(read(t, "internal/fields/fields.go"), -1) {
		if found[2] == "" {
			written = append(written, found[1])
		}
	}
	require.Greater(t, len(written), 20)
	for _, row := range rows(read(t, "receiver/kmeshreceiver/README.md"), "Access log")[1:] {
		for _, found := range span.FindAllStringSubmatch(row[0], -1) {
			documented = append(documented, found[1])
		}
	}
	assert.Equal(t, written, documented)
}

func TestTheReadmeIsShort(t *testing.T) {
	assert.LessOrEqual(t, strings.Count(read(t, "README.md"), "\n"), 200)
}
