// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheVersionsAreThoseOfTheModules(t *testing.T) {
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	require.NotNil(t, language)
	collector := regexp.MustCompile(`exporter/debugexporter (v[0-9.]+)`).FindStringSubmatch(read(t, "builder-config.yaml"))
	require.NotNil(t, collector)
	for _, file := range []string{"README.md", "CONTRIBUTING.md"} {
		assert.Contains(t, read(t, file), "Go "+language[1]+" or newer", file)
	}
	for _, found := range regexp.MustCompile(`go\.opentelemetry\.io/collector/[a-z/]+[@ ](v[0-9.]+)`).FindAllStringSubmatch(read(t, "README.md"), -1) {
		assert.Equal(t, collector[1], found[1], found[0])
	}
}

// The pages shorten the names of tests with …
func TestTheTestsOfExactnessExist(t *testing.T) {
	var sources strings.Builder
	for _, file := range files(t, "_test.go") {
		if strings.HasPrefix(file, "internal/probe/") {
			sources.WriteString(read(t, file))
		}
	}
	functions := regexp.MustCompile(`func Test(\w+)\(`).FindAllStringSubmatch(sources.String(), -1)
	literals := literal.FindAllString(sources.String(), -1)
	text, checked := read(t, "docs/exactness.md"), 0
	for _, title := range []string{"Payload", "How a connection ends"} {
		for _, row := range rows(text, title) {
			for _, found := range span.FindAllStringSubmatch(row[len(row)-1], -1) {
				name, subtest, is := strings.Cut(found[1], "/")
				pattern := regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(name), "…", ".*"))
				assert.True(t, slices.ContainsFunc(functions, func(f []string) bool { return pattern.MatchString(f[1]) }) || name == "", "test %s", found[1])
				if is {
					pattern = regexp.MustCompile("^.(?:IPv[46], )?" + strings.ReplaceAll(regexp.QuoteMeta(subtest), "…", ".*"))
					assert.True(t, slices.ContainsFunc(literals, pattern.MatchString), "subtest %s", found[1])
				}
				checked++
			}
		}
	}
	assert.Greater(t, checked, 30)
}
