// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	literal = regexp.MustCompile("\"(?:[^\"\\\\\n]|\\\\.)*\"|`[^`]*`")
	verb    = regexp.MustCompile(`%[-+# 0-9.]*[a-zA-Z]`)
)

// texts are the string literals of the product, with … for each verb of a format.
func texts(t *testing.T) (all []string) {
	t.Helper()
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "test/") {
			continue
		}
		for _, quoted := range literal.FindAllString(read(t, file), -1) {
			if text, err := strconv.Unquote(quoted); err == nil {
				all = append(all, verb.ReplaceAllString(text, "…"))
			}
		}
	}
	return all
}

// What users search for is what the code writes.
func TestEveryMessageInTroubleshootingIsOneOfTheCode(t *testing.T) {
	all := texts(t)
	messages := rows(read(t, "docs/troubleshooting.md"), "Error messages")
	require.Greater(t, len(messages), 10)
	for _, row := range messages[1:] {
		message := strings.Trim(row[0], "`")
		var parts []string
		for part := range strings.SplitSeq(message, "…") {
			parts = append(parts, regexp.QuoteMeta(strings.TrimSpace(part)))
		}
		pattern := regexp.MustCompile(strings.Join(parts, `\s*.*\s*`))
		assert.True(t, slices.ContainsFunc(all, pattern.MatchString), "no message %q in the code", message)
	}
}
