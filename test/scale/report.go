// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report gathers the rows of a table.
type report struct {
	settings *settings
	rows     []string
}

func newReport(s *settings) *report { return &report{settings: s} }

// row adds a figure; of is the format of what it is about.
func (r *report) row(of, figure string, args ...any) {
	line := "| " + fmt.Sprintf(of, args...) + " | " + figure + " |"
	r.rows = append(r.rows, line)
	fmt.Println(line)
}

// The table stands between these lines.
const (
	begins = "<!-- make scale -->\n"
	ends   = "<!-- end of make scale -->\n"
)

func (r *report) write(path string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(begins))
	_, after, ended := bytes.Cut(rest, []byte(ends))
	if !found || !ended {
		return fmt.Errorf("%s has no lines %q and %q", path, strings.TrimSpace(begins), strings.TrimSpace(ends))
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var b strings.Builder
	b.Write(before)
	b.WriteString(begins)
	fmt.Fprintf(&b, "%d pods, %d services, 2 replicas, %d simulated agents and 3 real ones; Linux %s, %d CPUs for all of them, the API server and etcd.\n\n",
		r.settings.pods, r.settings.services, r.settings.agents, strings.TrimSpace(string(release)), runtime.NumCPU())
	b.WriteString("| | |\n|---|---|\n")
	for _, row := range r.rows {
		b.WriteString(row + "\n")
	}
	b.WriteString(ends)
	b.Write(after)
	return os.WriteFile(path, []byte(b.String()), 0o644) // #nosec G306 -- documentation
}

func bytesOf(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// quantiles are the median, the 99th hundredth, and the longest.
func quantiles(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(q float64) string {
		return all[min(len(all)-1, int(q*float64(len(all))))].Round(10 * time.Microsecond).String()
	}
	return at(0.5) + ", " + at(0.99) + ", " + at(1)
}
