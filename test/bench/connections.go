// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const turn = 2500 * time.Millisecond // how long an arm is measured in a round

// sample is what a turn of an arm gave.
type sample struct {
	rate   float64 // connections/s
	cpu    float64 // µs of the watcher per connection end
	median float64 // ns
	p99    float64 // ns
}

// turnOf measures one arm once.
func (b *bench) turnOf(ctx context.Context, a arm, p path, rate int) (s sample, err error) {
	w, err := b.begin(ctx, a)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	// What a start leaves behind, and what the caches have to learn, is in no arm.
	if _, err := b.connect(ctx, p, 300*time.Millisecond, rate, 1); err != nil {
		return s, err
	}
	var before time.Duration
	if w.cmd != nil {
		before = w.cpu()
	}
	c, err := b.connect(ctx, p, turn, rate, 1)
	if err != nil {
		return s, err
	}
	s = sample{rate: c.rate, median: float64(c.median), p99: float64(c.p99)}
	if w.cmd != nil {
		s.cpu = float64((w.cpu() - before).Nanoseconds()) / 1e3 / (2 * c.connections)
	}
	return s, nil
}

// turns measures all arms in turns.
func (b *bench) turns(ctx context.Context, p path, rate, rounds int, arms ...arm) (map[string][]sample, error) {
	server, err := b.load.serve(ctx, p.server, "serve", "answer", p.port)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	all := make(map[string][]sample)
	for range rounds {
		for _, a := range arms {
			s, err := b.turnOf(ctx, a, p, rate)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			all[a.name] = append(all[a.name], s)
		}
	}
	return all, nil
}

func pick(samples []sample, of func(sample) float64) figures {
	var f figures
	for _, s := range samples {
		f = append(f, of(s))
	}
	return f
}

func connections(ctx context.Context, b *bench) error {
	arms := []arm{nothing, metrics, defaults, traced, allSets, tcplife}
	for _, p := range []path{b.veth("7000"), b.loopback("7001")} {
		all, err := b.turns(ctx, p, 0, b.rounds, arms...)
		if err != nil {
			return err
		}
		rate := func(s sample) float64 { return s.rate }
		cpu := func(s sample) float64 { return s.cpu }
		base := pick(all[nothing.name], rate)
		rows := [][]string{{"arm", "connections/s", "share of nothing", "µs of its CPU per connection end"}}
		for _, a := range arms {
			rates, spent := pick(all[a.name], rate), "–"
			if a.command != nil {
				spent = pick(all[a.name], cpu).text("%.2f")
			}
			rows = append(rows, []string{a.name, rates.text("%.0f"), rates.over(base).text("%.3f"), spent})
		}
		b.report.table("Connections, "+p.name,
			"Connect, request of 128 B, response of 1,024 B, close, as often as one core can: client, server and programs share it.", rows...)
		share := pick(all[defaults.name], rate).over(base)
		b.report.row("connect-request-response-close rate, the contract's defaults on, "+p.name, "≥ 0.95 of none; stretch 0.97",
			share.text("%.3f"), share.median() >= 0.95)
		if p.name != "veth" {
			continue
		}
		only := pick(all[metrics.name], cpu)
		b.report.row("CPU of the collector per connection end, metrics only", "≤ 1.0 µs", only.text("%.2f µs"), only.median() <= 1)
		logged := pick(all[defaults.name], cpu)
		b.report.row("the same with the access log to a discarding exporter", "≤ 3.0 µs", logged.text("%.2f µs"), logged.median() <= 3)
		spans := pick(all[traced.name], cpu).above(logged)
		b.report.row("what traces to a discarding exporter add to that", "≤ 1.5 µs", spans.text("%.2f µs"), spans.median() <= 1.5)
	}
	return b.programTime(ctx)
}

// programTime asks the kernel how long the programs took for a connection.
func (b *bench) programTime(ctx context.Context) (err error) {
	counting, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, counting.Close()) }()
	rows := [][]string{{"path", "runs per connection", "ns per connection, both ends"}}
	for _, p := range []path{b.veth("7002"), b.loopback("7003")} {
		runs, ns, err := b.programTimeOn(ctx, p)
		if err != nil {
			return err
		}
		rows = append(rows, []string{p.name, runs.text("%.2f"), ns.text("%.0f")})
		if p.name == "veth" {
			b.report.row("program time per connection, both ends", "≤ 1.5 µs", ns.text("%.0f ns"), ns.median() <= 1500)
		}
	}
	b.report.table("Programs in the kernel", "Every program of the receiver that runs in a connection's life, and the reading of the clock before and after each, which is the kernel's way to count.", rows...)
	return nil
}

func (b *bench) programTimeOn(ctx context.Context, p path) (runs, ns figures, err error) {
	server, err := b.load.serve(ctx, p.server, "serve", "answer", p.port)
	if err != nil {
		return nil, nil, err
	}
	defer server.stop()
	w, err := b.begin(ctx, defaults)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	for range b.rounds {
		before := programs()
		c, err := b.connect(ctx, p, time.Second, 0, 1)
		if err != nil {
			return nil, nil, err
		}
		did := work(before, programs())
		runs = append(runs, float64(did.count)/c.connections)
		ns = append(ns, float64(did.time.Nanoseconds())/c.connections)
	}
	return runs, ns, nil
}

// latency holds the rate at half of what the core can do.
func latency(ctx context.Context, b *bench) error {
	p := b.veth("7004")
	most, err := b.maximum(ctx, p)
	if err != nil {
		return err
	}
	all, err := b.turns(ctx, p, int(most/2), b.rounds, nothing, defaults)
	if err != nil {
		return err
	}
	p99 := func(s sample) float64 { return s.p99 / 1e3 }
	median := func(s sample) float64 { return s.median / 1e3 }
	rows := [][]string{{"arm", "median, µs", "p99, µs", "share of nothing: median", "p99"}}
	for _, a := range []arm{nothing, defaults} {
		m, t := pick(all[a.name], median), pick(all[a.name], p99)
		rows = append(rows, []string{
			a.name, m.text("%.1f"), t.text("%.1f"),
			m.over(pick(all[nothing.name], median)).text("%.3f"), t.over(pick(all[nothing.name], p99)).text("%.3f"),
		})
	}
	b.report.table("Latency", fmt.Sprintf("%.0f connections/s, half of the most: from the moment at which a connection was due to the end of its response.", most/2), rows...)
	share := pick(all[defaults.name], p99).over(pick(all[nothing.name], p99))
	b.report.row("p99 of connection latency at half the maximum rate", "≤ 1.05 of none", share.text("%.3f"), share.median() <= 1.05)
	return nil
}

// maximum is the rate of connections that one core can do with no program.
func (b *bench) maximum(ctx context.Context, p path) (rate float64, err error) {
	server, err := b.load.serve(ctx, p.server, "serve", "answer", p.port)
	if err != nil {
		return 0, err
	}
	defer server.stop()
	c, err := b.connect(ctx, p, turn, 0, 1)
	return c.rate, err
}

// rates is the curve of overhead against the rate of connections.
func rates(ctx context.Context, b *bench) error {
	p := b.veth("7005")
	rows := [][]string{{"connections/s", "collector, share of one core", "µs of its CPU per connection end", "p99 share of nothing"}}
	for _, rate := range []int{100, 1000, 3000, 6000, 10000} {
		all, err := b.turns(ctx, p, rate, (b.rounds+1)/2, nothing, defaults)
		if err != nil {
			return err
		}
		cpu := pick(all[defaults.name], func(s sample) float64 { return s.cpu })
		p99 := func(s sample) float64 { return s.p99 }
		share := pick(all[defaults.name], p99).over(pick(all[nothing.name], p99))
		rows = append(rows, []string{
			fmt.Sprint(rate), fmt.Sprintf("%.4f", cpu.median()*2*float64(rate)/1e6), cpu.text("%.2f"), share.text("%.3f"),
		})
	}
	b.report.table("Overhead against the rate of connections", "The contract's defaults over veth. At low rates the timers are what is left: 2 readings a second.", rows...)
	return nil
}
