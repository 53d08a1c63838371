// SPDX-License-Identifier: Apache-2.0

// Package check has the checks of configured values. Each error names the key and what to write.
package check

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxDuration is the longest time that any key takes: a longer one is a slip.
const MaxDuration = 7 * 24 * time.Hour

// Within returns an error if a duration is outside its bounds, or so short that its unit was forgotten: the number alone is
// in nanoseconds.
func Within(key string, value, least, most time.Duration) error {
	switch {
	case value > 0 && value < time.Millisecond:
		return fmt.Errorf("%s is %s: write a unit, e.g. %ds", key, value, value.Nanoseconds())
	case value < least:
		return fmt.Errorf("%s is %s: it must be at least %s", key, value, least)
	case value > most:
		return fmt.Errorf("%s is %s: it must be at most %s", key, value, most)
	}
	return nil
}

// NotEmpty returns an error if a value is empty; what describes the value that is missing.
func NotEmpty(key, value, what string) error {
	if value != "" {
		return nil
	}
	return fmt.Errorf("%s is empty: write %s", key, what)
}

// OneOf returns an error if a value is not allowed. The error does not list the empty one.
func OneOf(key, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	named := slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" })
	return fmt.Errorf("%s is %q: it must be one of %s", key, value, strings.Join(named, ", "))
}
