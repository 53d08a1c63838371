// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/hex"
	"hash/fnv"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// StartTimeFormat is RFC 3339 with all nine digits, so that its texts sort as their times do.
const StartTimeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// maxText is the most bytes of a text. No name of Kubernetes has more than 253, and no principal made of them more than 600.
const maxText = 1024

// Text returns value as valid UTF-8 of at most 1 KiB; "-" for an empty one. OTLP requires UTF-8, and an empty label is an
// absent one to Prometheus. A longer value is cut, and ends with a hash of the whole: two series must not get the same
// labels.
func Text(value string) string {
	if value == "" {
		return identity.Unknown
	}
	if len(value) <= maxText && utf8.ValidString(value) {
		return value
	}
	text := strings.ToValidUTF8(value[:min(len(value), maxText)], "\uFFFD")
	if len(value) <= maxText && len(text) <= maxText {
		return text
	}
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, value)
	suffix := "\u2026" + hex.EncodeToString(hash.Sum(nil))
	end := min(len(text), maxText-len(suffix))
	for end > 0 && end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + suffix
}
