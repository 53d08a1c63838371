// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// report collects the budget's rows and the tables behind them.
type report struct {
	rows   []string
	tables strings.Builder
	began  time.Time
}

func newReport() *report { return &report{began: time.Now()} }

// row states a budget, what was measured, and whether that is within it.
func (r *report) row(what, budget, measured string, met bool) {
	verdict := "met"
	if !met {
		verdict = "**missed**"
	}
	r.rows = append(r.rows, fmt.Sprintf("| %s | %s | %s | %s |", what, budget, measured, verdict))
}

// table adds a table; the first row is its head.
func (r *report) table(title, note string, rows ...[]string) {
	fmt.Fprintf(&r.tables, "\n## %s\n\n%s\n\n", title, note)
	for i, row := range rows {
		fmt.Fprintf(&r.tables, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&r.tables, "%s|\n", strings.Repeat("|---", len(row)))
		}
	}
}

const method = `Written by ` + "`make bench`" + `. Arms run in turns (A B C A B C …), each in a new process. A ratio is
taken within its round; the table has the median of the rounds and, in brackets, their range. Client and
server are C programs, pinned to one core, in two network namespaces with a veth pair between them, or in
one over loopback. The collector is the whole distribution with an exporter that discards everything; it
may use both cores. CPU is what the kernel accounted for its threads (schedstat), user and kernel. Program
time is the kernel's own count (` + "`BPF_ENABLE_STATS`" + `), taken in rounds of their own, because
counting costs time too. [performance.md](performance.md) explains what is missed.
`

func (r *report) markdown(ctx context.Context) string {
	var s strings.Builder
	s.WriteString("# What it costs\n\n" + method)
	fmt.Fprintf(&s, "\nLinux %s, %s, %d cores of %s, %s, commit %s; the run took %s.\n",
		output(ctx, "uname", "-r"), runtime.GOARCH, runtime.NumCPU(), model(), runtime.Version(),
		commit(ctx), time.Since(r.began).Round(time.Second))
	s.WriteString("\n| what | budget | measured | |\n|---|---|---|---|\n")
	s.WriteString(strings.Join(r.rows, "\n") + "\n")
	s.WriteString(r.tables.String())
	return s.String()
}

func commit(ctx context.Context) string {
	name := output(ctx, "git", "rev-parse", "--short", "HEAD")
	if output(ctx, "git", "status", "--porcelain", "--", ":!docs/benchmarks.md") != "" {
		name += " with changes"
	}
	return name
}

func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output() // #nosec G204 -- our own words
	if err != nil {
		return "?"
	}
	return string(bytes.TrimSpace(out))
}

func model() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "an unknown kind"
}
