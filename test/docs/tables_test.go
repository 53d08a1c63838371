// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var (
	delimiter = regexp.MustCompile(`^\|(?: *:?-+:? *\|)+$`)
	cell      = regexp.MustCompile(`(?:\\\||[^|])*\|`)
)

// brokenTables returns the lines of a text that GitHub does not show as the row of a table that they are meant to be:
// without a heading above, as after a blank line, or with more or fewer cells than the heading.
func brokenTables(text string) (lines []string) {
	columns := 0 // of the table that the line is in
	all := strings.Split(prose(text), "\n")
	for i, line := range all {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		cells := len(cell.FindAllString(line[1:], -1))
		if columns == 0 && i+1 < len(all) && delimiter.MatchString(strings.TrimSpace(all[i+1])) {
			columns = cells
		}
		if cells != columns || !strings.HasSuffix(line, "|") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestBrokenTablesAreFound(t *testing.T) {
	assert.Equal(t, []string{"| torn | off |", "| a `b|c` | d |", "| one |"}, brokenTables(
		"| x | y |\n|---|---|\n| a `b\\|c` | |\n\n| torn | off |\n\ntext\n\n| x | y |\n|---|--:|\n| a `b|c` | d |\n| one |\n| 1 | 2 |\n"))
}

func TestEveryTableIsWhole(t *testing.T) {
	for _, file := range files(t, ".md") {
		assert.Empty(t, brokenTables(read(t, file)), file)
	}
}
