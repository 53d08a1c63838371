// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A translation has the headings and the code of the English text, so that what is added there is missed here.
func TestTheChineseReadmeHasTheShapeOfTheEnglishOne(t *testing.T) {
	english, chinese := read(t, "README.md"), read(t, "docs/zh-CN/README.md")
	assert.Equal(t, fence.FindAllString(english, -1), fence.FindAllString(chinese, -1))
	levels := func(text string) (all []int) {
		for _, found := range heading.FindAllStringSubmatch(prose(text), -1) {
			all = append(all, len(found[1]))
		}
		return all
	}
	assert.Equal(t, levels(english), levels(chinese))
	// The prose has the same commands, keys and files.
	spans := func(text string) (all []string) {
		for _, found := range span.FindAllStringSubmatch(prose(text), -1) {
			all = append(all, found[1])
		}
		return all
	}
	assert.ElementsMatch(t, spans(english), spans(chinese))
}
