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

// row states a budget, what was measured, whether that is within it, and what tcplife had in the same run, if it has
// anything of the kind.
func (r *report) row(what, budget, measured string, met bool, tcplife ...string) {
	verdict := "met"
	if !met {
		verdict = "**missed**"
	}
	r.add(what, budget, measured, strings.Join(append(tcplife, "–")[:1], ""), verdict)
}

// figure states what was measured where there is no budget.
func (r *report) figure(what, measured string) { r.add(what, "none", measured, "–", "–") }

func (r *report) add(cells ...string) {
	r.rows = append(r.rows, "| "+strings.Join(cells, " | ")+" |")
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
one over loopback; the other core has no load. The collector is the whole distribution with an exporter that discards everything; it
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
	s.WriteString("\n| what | budget | measured | `tcplife` | |\n|---|---|---|---|---|\n")
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
