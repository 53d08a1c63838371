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
	for _, kind := range []struct {
		path path
		arms []arm
	}{
		{b.veth("7000"), []arm{nothing, metrics, defaults, traced, allSets, tcplife}},
		{b.loopback("7001"), []arm{nothing, metrics, defaults, tcplife}},
	} {
		p := kind.path
		all, err := b.turns(ctx, p, 0, b.rounds, kind.arms...)
		if err != nil {
			return err
		}
		rate := func(s sample) float64 { return s.rate }
		cpu := func(s sample) float64 { return s.cpu }
		base := pick(all[nothing.name], rate)
		rows := [][]string{{"arm", "connections/s", "share of nothing", "µs of its CPU per connection end"}}
		for _, a := range kind.arms {
			rates, spent := pick(all[a.name], rate), "–"
			if a.command != nil {
				spent = pick(all[a.name], cpu).text("%.2f")
			}
			rows = append(rows, []string{a.name, rates.text("%.0f"), rates.over(base).text("%.3f"), spent})
		}
		b.report.table("Connections, "+p.name,
			"Connect, request of 128 B, response of 1,024 B, close, as often as one core can: client, server and programs share it.", rows...)
		share := pick(all[defaults.name], rate).over(base)
		b.report.row("connect-request-response-close rate, the contract's defaults on, "+p.name, "≥ 0.955 of none; stretch 0.97",
			share.text("%.3f"), share.median() >= 0.955, pick(all[tcplife.name], rate).over(base).text("%.3f"))
		if p.name != "veth" {
			continue
		}
		only, lives := pick(all[metrics.name], cpu), pick(all[tcplife.name], cpu).text("%.2f µs")
		b.report.row("CPU of the collector per connection end, metrics only", "≤ 1.0 µs", only.text("%.2f µs"), only.median() <= 1, lives)
		logged := pick(all[defaults.name], cpu)
		b.report.row("the same with the access log to a discarding exporter", "≤ 3.0 µs", logged.text("%.2f µs"), logged.median() <= 3, lives)
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
	rows := [][]string{{"path", "programs of", "runs per connection", "ns per connection, both ends"}}
	type figuresOf struct{ runs, ns figures }
	measured := make(map[string]figuresOf)
	for _, p := range []path{b.veth("7002"), b.loopback("7003")} {
		for _, a := range []arm{defaults, tcplife} {
			runs, ns, err := b.programTimeOn(ctx, a, p)
			if err != nil {
				return err
			}
			name := "the receiver"
			if !a.watched {
				name = a.name
			}
			rows = append(rows, []string{p.name, name, runs.text("%.2f"), ns.text("%.0f")})
			measured[p.name+a.name] = figuresOf{runs, ns}
		}
	}
	ours, theirs := measured["veth"+defaults.name], measured["veth"+tcplife.name]
	b.report.row("program time per connection, both ends, as the kernel counts it", "≤ 1.9 µs; stretch 1.5",
		ours.ns.text("%.0f ns"), ours.ns.median() <= 1900, theirs.ns.text("%.0f ns"))
	b.report.row("program runs per connection, both ends", "≤ 12", ours.runs.text("%.2f"), ours.runs.median() <= 12.01, theirs.runs.text("%.2f"))
	b.report.table("Programs in the kernel", "Every program that runs in a connection's life, and the reading of the clock before and after each, which is the kernel's way to count.", rows...)
	return nil
}

func (b *bench) programTimeOn(ctx context.Context, a arm, p path) (runs, ns figures, err error) {
	server, err := b.load.serve(ctx, p.server, "serve", "answer", p.port)
	if err != nil {
		return nil, nil, err
	}
	defer server.stop()
	w, err := b.begin(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	which := ours
	if !a.watched {
		which = theirs
	}
	for range b.rounds {
		before := programs()
		c, err := b.connect(ctx, p, time.Second, 0, 1)
		if err != nil {
			return nil, nil, err
		}
		did := work(which, before, programs())
		runs = append(runs, float64(did.count)/c.connections)
		ns = append(ns, float64(did.time.Nanoseconds())/c.connections)
	}
	return runs, ns, nil
}

// latency holds the rate at half of what the core can do, each connection at its moment.
func latency(ctx context.Context, b *bench) error {
	p := b.veth("7004")
	most, err := b.maximum(ctx, p)
	if err != nil {
		return err
	}
	elsewhere := defaults.on("metrics, access log; the collector on the free core", freeCore)
	arms := []arm{nothing, defaults, elsewhere, tcplife}
	rounds := b.rounds * 5 / 3 // a tail differs more from turn to turn than a rate
	all, err := b.turns(ctx, p, int(most/2), rounds, arms...)
	if err != nil {
		return err
	}
	p99 := func(s sample) float64 { return s.p99 / 1e3 }
	median := func(s sample) float64 { return s.median / 1e3 }
	none := pick(all[nothing.name], p99)
	// Medians are divided, not rounds: a turn with a disturbed tail then weighs no more than any other.
	share := func(a arm) float64 { return pick(all[a.name], p99).median() / none.median() }
	rows := [][]string{{"arm", "median, µs", "p99, µs", "p99, share of nothing", "p99, share in each round"}}
	for _, a := range arms {
		tail := pick(all[a.name], p99)
		rows = append(rows, []string{
			a.name, pick(all[a.name], median).middle("%.1f"), tail.middle("%.1f"), fmt.Sprintf("%.3f", share(a)), tail.over(none).middle("%.3f"),
		})
	}
	b.report.table("Latency", fmt.Sprintf("%.0f connections/s, half of the maximum rate. A latency is from the moment at which a connection was due to the end of its response. "+
		"%d rounds; in brackets is the middle half of them.", most/2, rounds), rows...)
	b.report.row("p99 of connection latency at half the maximum rate", "≤ 1.1 of none",
		fmt.Sprintf("%.3f; in each round %s", share(defaults), pick(all[defaults.name], p99).over(none).middle("%.3f")),
		share(defaults) <= 1.1, fmt.Sprintf("%.3f", share(tcplife)))
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
	for _, rate := range []int{1000, 3000, 6000, 10000} {
		all, err := b.turns(ctx, p, rate, (b.rounds+2)/3, nothing, defaults)
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
	return b.quiet(ctx, b.veth("7006"))
}

// quiet is the collector beside few connections: for so long that each turn has the same number of readings and flushes.
func (b *bench) quiet(ctx context.Context, p path) error {
	server, err := b.load.serve(ctx, p.server, "serve", "answer", p.port)
	if err != nil {
		return err
	}
	defer server.stop()
	ours, err := b.quietShare(ctx, defaults, p)
	if err != nil {
		return err
	}
	theirs, err := b.quietShare(ctx, tcplife, p)
	if err != nil {
		return err
	}
	b.report.row("CPU of the collector at 100 connections/s, of one core", "≤ 0.4 %", ours.text("%.2f %%"), ours.median() <= 0.4, theirs.text("%.2f %%"))
	return nil
}

func (b *bench) quietShare(ctx context.Context, a arm, p path) (shares figures, err error) {
	w, err := b.begin(ctx, a)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	if err := rest(ctx, interval); err != nil { // what a start leaves behind
		return nil, err
	}
	for range 3 {
		before := w.cpu()
		if _, err := b.connect(ctx, p, 2*interval, 100, 1); err != nil {
			return nil, err
		}
		shares = append(shares, 100*(w.cpu()-before).Seconds()/(2*interval).Seconds())
	}
	return shares, nil
}
