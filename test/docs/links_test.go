// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	reference = regexp.MustCompile(`(?m)^\[[^\]]+\]: (\S+)$`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors returns the anchors that GitHub makes of the headings.
func anchors(text string) (all []string) {
	for _, found := range heading.FindAllStringSubmatch(prose(text), -1) {
		title := strings.ReplaceAll(linkText.ReplaceAllString(found[2], "$1"), "`", "")
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			default:
				return -1
			}
		}, title)
		all = append(all, anchor)
	}
	return all
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	require.Equal(t, []string{"what-it-is", "error_mode-ignore", "the-map-2", "简介"},
		anchors("# What it is?\n## `error_mode`: ignore\n### The [map](x.md) 2\n# 简介\n```\n# no heading\n```\n"))
}

// awaited are pages that are written elsewhere at this moment.
var awaited = []string{"docs/identity.md"}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	for _, file := range files(t, ".md") {
		text := prose(read(t, file))
		targets := link.FindAllStringSubmatch(span.ReplaceAllString(text, ""), -1)
		targets = append(targets, reference.FindAllStringSubmatch(text, -1)...)
		for _, found := range targets {
			target := found[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue // the network is no part of a unit test
			}
			name, anchor, _ := strings.Cut(target, "#")
			to := file
			if name != "" {
				to = path.Join(path.Dir(file), name)
			}
			if slices.Contains(awaited, to) {
				continue
			}
			if _, err := os.Stat(filepath.Join(repository, to)); !assert.NoError(t, err, "%s links to %s", file, target) || anchor == "" {
				continue
			}
			assert.True(t, slices.Contains(anchors(read(t, to)), anchor), "%s links to %s, which has no such heading", file, target)
		}
	}
}

// Every page of docs/ can be found from its index.
func TestTheIndexHasEveryPage(t *testing.T) {
	index := read(t, "docs/README.md")
	for _, file := range files(t, ".md") {
		folder, name := path.Split(file)
		if folder == "docs/" && name != "README.md" {
			assert.Contains(t, index, "("+name+")")
		}
	}
}
