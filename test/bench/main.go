// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

// Command bench measures what the receiver costs the host that it watches, and writes docs/benchmarks.md.
//
// Every figure is a ratio of arms that ran in turns, A B A B, or CPU time that the kernel accounted: nothing in it is
// compared with another run. It needs root, and the built distribution.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	out := flag.String("out", "docs/benchmarks.md", "where the report goes; it stays as it is when -only is set")
	only := flag.String("only", "", "run the sections whose name contains this")
	rounds := flag.Int("rounds", 9, "turns of each arm")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *out, *only, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to undo
	}
}

// section measures one kind of load and writes its tables.
type section struct {
	name    string
	measure func(context.Context, *bench) error
}

var sections = []section{
	{"connections", connections},
	{"latency", latency},
	{"rates", rates},
	{"kept", kept},
	{"open", openConnections},
	{"walks", walks},
	{"memory", memory},
	{"start", start},
	{"micro", micro},
}

// bench is what the sections share.
type bench struct {
	load   *load
	hosts  *hosts
	report *report
	rounds int
	work   string  // a folder for files that no one keeps
	flush  float64 // ns per series, of a flush of 10,000
}

func run(ctx context.Context, out, only string, rounds int) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("root is needed: it loads eBPF programs and makes network namespaces")
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("the distribution is missing: make build: %w", err)
	}
	if err := checkTCPLife(); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "kmesh-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b := &bench{report: newReport(), rounds: rounds, work: work}
	if b.load, err = compile(ctx, work); err != nil {
		return err
	}
	if b.hosts, err = newHosts(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.hosts.remove()) }()
	// What was measured is written although a section failed: it took long.
	for _, s := range sections {
		if !strings.Contains(s.name, only) || ctx.Err() != nil {
			continue
		}
		began := time.Now()
		if failed := s.measure(ctx, b); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s.name, failed))
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", s.name, time.Since(began).Round(time.Second))
	}
	text := b.report.markdown(ctx)
	fmt.Print(text)
	if only != "" || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	return errors.Join(err, os.WriteFile(out, []byte(text), 0o644)) // #nosec G306 -- documentation
}
