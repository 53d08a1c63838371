// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const interval = 5 * time.Second // the contract's collection_interval

// openConnections measures what connections that stay open cost, of which one in a hundred is active per interval.
func openConnections(ctx context.Context, b *bench) error {
	rows := [][]string{{"open connections", "CPU of one interval, ms", "memory of the process, MiB", "of it anonymous, MiB"}}
	var none, last openCost
	for _, n := range []int{0, 1_000, 10_000, 50_000, 100_000} {
		cost, err := b.holding(ctx, n)
		if err != nil {
			return err
		}
		if n == 0 {
			none = cost
		}
		last = cost
		rows = append(rows, []string{strconv.Itoa(n), cost.cpu.text("%.1f"), mib(cost.resident), mib(cost.anonymous)})
	}
	b.report.table("Open connections", "Both ends are on this host, so that each is two sockets to walk over. 1 in 100 sends a byte in each interval of 5 s. "+
		"The CPU is that of the whole collector over the interval, the walk in the kernel included.", rows...)
	b.report.row("one interval with 100,000 open connections (200,000 ends), 1 % of them active", "≤ 100 ms of CPU", last.cpu.text("%.1f ms"), last.cpu.median() <= 100)
	more := last.resident - none.resident
	b.report.row("memory of the collector with 100,000 open connections over that with none", "≤ 10 MiB in user space",
		fmt.Sprintf("%s MiB; %d B of state per end in the kernel", mib(more), stateBytes), more <= 10<<20)
	return nil
}

func mib(bytes float64) string { return fmt.Sprintf("%.1f", bytes/(1<<20)) }

type openCost struct {
	cpu                 figures // ms
	resident, anonymous float64 // bytes
}

// holding measures the collector beside n connections.
func (b *bench) holding(ctx context.Context, n int) (cost openCost, err error) {
	w, err := b.begin(ctx, defaults)
	if err != nil {
		return cost, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	var held *server
	if n > 0 {
		// Both ends have the server's address: its namespace reaches itself.
		held, err = b.load.serve(ctx, b.hosts.server, "hold", serverAddress, "7100", strconv.Itoa(n))
		if err != nil {
			return cost, err
		}
		defer held.stop()
	}
	// The first intervals report every connection.
	if err := rest(ctx, 2*interval+interval/2); err != nil {
		return cost, err
	}
	for range 4 {
		before := w.cpu()
		if held != nil {
			if err := held.say(strconv.Itoa(n / 100)); err != nil {
				return cost, err
			}
		}
		if err := rest(ctx, interval); err != nil {
			return cost, err
		}
		cost.cpu = append(cost.cpu, float64((w.cpu()-before).Microseconds())/1e3)
	}
	cost.resident, cost.anonymous = w.memory("VmRSS"), w.memory("RssAnon")
	return cost, nil
}

// rest lets the collector's own clock go on.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
