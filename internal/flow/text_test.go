// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestALongTextIsCutAtARune(t *testing.T) {
	for name, value := range map[string]string{
		"ascii":        strings.Repeat("a", 1<<20),
		"runes":        "a" + strings.Repeat("\u20ac", 1<<18),
		"not UTF-8":    strings.Repeat("a\xff", 600),
		"one too many": strings.Repeat("a", 1025),
		"half a rune":  strings.Repeat("a", 1023) + "\u20ac",
		"torn runes":   strings.Repeat("a\xe2\x82", 1<<19),
	} {
		t.Run(name, func(t *testing.T) {
			text := Text(value)
			require.LessOrEqual(t, len(text), 1024)
			require.Greater(t, len(text), 900)
			require.True(t, utf8.ValidString(text))
			require.NotEqual(t, text, Text(value+"b"), "another text")
			require.Equal(t, text, Text(strings.Clone(value)))
		})
	}
	fits := strings.Repeat("a", 1024)
	require.Equal(t, fits, Text(fits))
}
