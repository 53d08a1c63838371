// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"slices"
)

// figures are one quantity, measured once a round.
type figures []float64

func (f figures) median() float64 {
	if len(f) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(f))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// above returns the differences to others of the same rounds.
func (f figures) above(others figures) figures {
	differences := make(figures, len(f))
	for i := range f {
		differences[i] = f[i] - others[i]
	}
	return differences
}

// over divides round by round: what changes slowly on the machine is in both.
func (f figures) over(base figures) figures {
	ratios := make(figures, len(f))
	for i := range f {
		ratios[i] = f[i] / base[i]
	}
	return ratios
}

// quartiles are the bounds of the middle half.
func (f figures) quartiles() (low, high float64) {
	s := slices.Sorted(slices.Values(f))
	return s[len(s)/4], s[len(s)-1-len(s)/4]
}

// middle is the median and the middle half.
func (f figures) middle(format string) string {
	low, high := f.quartiles()
	return fmt.Sprintf(format+" ("+format+" – "+format+")", f.median(), low, high)
}

// text is the median and the range.
func (f figures) text(format string) string {
	if len(f) == 0 {
		return "–"
	}
	return fmt.Sprintf(format+" ("+format+" – "+format+")", f.median(), slices.Min(f), slices.Max(f))
}
