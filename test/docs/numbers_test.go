// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// figure is a number that could be wrong: one with a unit, or of four digits and more.
var figure = regexp.MustCompile(`\b[0-9][0-9,.]*\s(?:ns|µs|ms|s|min|minutes|seconds|hours|KiB|MiB|GiB|KB|MB|GB|B|bytes|%)(?:\b|\s|$)|\b[0-9]{1,3}(?:,[0-9]{3})+\b`)

// measured are reports: their figures are what was measured at a time, and the arithmetic on these.
var measured = []string{"benchmarks.md", "performance.md", "scaling.md", "CHANGELOG.md", "documentation.md"}

// given are figures that state nothing about this code.
var given = map[string]string{
	"4 GiB":     "the range of a 32-bit counter, beyond which exactness is tested",
	"5 seconds": "Kmesh's own intervals, in from-kmesh.md",
}

// A number in a document goes wrong when the code changes, unless something compares the two.
func TestEveryFigureHasASource(t *testing.T) {
	sources := figure.FindAllString(read(t, "docs/limits.md")+read(t, "docs/benchmarks.md"), -1)
	for i := range sources {
		sources[i] = strings.TrimSpace(sources[i])
	}
	for _, file := range files(t, ".md") {
		if slices.Contains(measured, path.Base(file)) || file == "docs/limits.md" {
			continue
		}
		text := span.ReplaceAllString(section.ReplaceAllString(prose(read(t, file)), ""), "")
		for _, found := range figure.FindAllString(text, -1) {
			found = strings.TrimSpace(found)
			if given[found] == "" {
				assert.True(t, slices.Contains(sources, found), "%s says %q: put it into docs/limits.md, where it is compared with the code, or leave it out", file, found)
			}
		}
	}
}

// The README rounds what make bench wrote last.
func TestTheReadmeHasTheSharesOfTheBenchmarks(t *testing.T) {
	left := make(map[string]string)
	for _, row := range rows(read(t, "docs/benchmarks.md"), "Connections, veth")[1:] {
		text, _, _ := strings.Cut(row[2], " ")
		share, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		left[row[0]] = fmt.Sprintf("%.2f", share)
	}
	require.Contains(t, left, "metrics, access log")
	require.Contains(t, left, "tcplife")
	words := strings.Join(strings.Fields(read(t, "README.md")), " ")
	assert.Contains(t, words, left["metrics, access log"]+" of the rate is left, where `tcplife` leaves "+left["tcplife"]+".")
}
