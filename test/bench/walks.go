// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// walks measures both variants of the walk over open connections beside each other, without a collector.
func walks(ctx context.Context, b *bench) (err error) {
	const connections, perWalk = 100_000, 10.0 // ms without preemption
	held, err := b.load.serve(ctx, b.hosts.server, "hold", serverAddress, "7100", strconv.Itoa(connections))
	if err != nil {
		return err
	}
	defer held.stop()
	rows := [][]string{{"variant", "one walk over all, ms", "longest time in one map, ms"}}
	var loaded bool
	for _, variant := range []probe.Walk{probe.WalkSyscall, probe.WalkIterator} {
		total, longest, err := walk(variant, b.rounds)
		if errors.Is(err, errRefused) {
			rows = append(rows, []string{string(variant), "this kernel refuses it", "–"})
			continue
		}
		if err != nil {
			return err
		}
		rows = append(rows, []string{string(variant), total.text("%.1f"), longest.text("%.1f")})
		if !loaded { // the one that the collector takes here
			loaded = true
			b.report.row("one walk over one map of connections, with 100,000 open connections (200,000 ends)", "≤ 10 ms",
				longest.text("%.1f ms"), longest.median() <= perWalk)
		}
	}
	b.report.table("The walk over open connections", "100,000 idle connections, both ends on this host. The kernel gives the CPU to others between two of the maps.", rows...)
	return nil
}

var errRefused = errors.New("the kernel refuses this variant")

// walk gives the time on the clock of one walk, and of its longest part, in ms.
func walk(variant probe.Walk, rounds int) (total, longest figures, err error) {
	p, err := probe.Open(probe.Options{IncludeLoopback: true, Walks: []probe.Walk{variant}})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for _, missing := range p.Missing() {
		if missing.Name == "walk" {
			return nil, nil, errRefused
		}
	}
	for range rounds + 1 {
		if err := p.Sweep(false, func(*probe.Record) {}); err != nil {
			return nil, nil, fmt.Errorf("walk over the open connections: %w", err)
		}
		stats, err := p.Stats()
		if err != nil {
			return nil, nil, err
		}
		total = append(total, float64(stats.Counts.Walk.Microseconds())/1e3)
		longest = append(longest, float64(stats.Counts.LongestWalk.Microseconds())/1e3)
	}
	return total[1:], longest[1:], nil // the first finds nothing in the caches
}
