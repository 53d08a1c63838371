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

// kept measures what goes over connections that stay.
func kept(ctx context.Context, b *bench) error {
	loads := []struct {
		client, server, what, port string
		unit                       float64
	}{
		{"transact", "echo", "transactions/s", "7010", 1},
		{"stream", "sink", "MB/s", "7011", 1e6},
	}
	for _, l := range loads {
		rows := [][]string{{"arm", l.what, "share of nothing"}}
		all, err := b.keptTurns(ctx, b.veth(l.port), l.client, l.server)
		if err != nil {
			return err
		}
		for _, a := range []arm{nothing, defaults} {
			for i := range all[a.name] {
				all[a.name][i] /= l.unit
			}
			rows = append(rows, []string{a.name, all[a.name].text("%.0f"), all[a.name].over(all[nothing.name]).text("%.4f")})
		}
		b.report.table("Kept connections: "+l.what, "One connection over veth, client and server on one core.", rows...)
		share := all[defaults.name].over(all[nothing.name])
		b.report.row(l.what+" on a kept connection", "≥ 0.995 of none", share.text("%.4f"), share.median() >= 0.995)
	}
	return b.noRunPerPacket(ctx)
}

func (b *bench) keptTurns(ctx context.Context, p path, client, kind string) (map[string]figures, error) {
	server, err := b.load.serve(ctx, p.server, "serve", kind, p.port)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	all := make(map[string]figures)
	for range b.rounds * 5 / 3 {
		for _, a := range []arm{nothing, defaults} {
			n, err := b.keptTurn(ctx, a, p, client)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			all[a.name] = append(all[a.name], n)
		}
	}
	return all, nil
}

func (b *bench) keptTurn(ctx context.Context, a arm, p path, client string) (rate float64, err error) {
	w, err := b.begin(ctx, a)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	n, err := b.load.numbers(ctx, p.client, client, p.address, p.port, "1.5")
	if err != nil {
		return 0, err
	}
	return n[0] / n[1] * 1e9, nil
}

// noRunPerPacket counts the runs of our programs while a stream goes for one second and for three.
func (b *bench) noRunPerPacket(ctx context.Context) (err error) {
	counting, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, counting.Close()) }()
	p := b.veth("7012")
	server, err := b.load.serve(ctx, p.server, "serve", "sink", p.port)
	if err != nil {
		return err
	}
	defer server.stop()
	w, err := b.begin(ctx, defaults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	// The question whether the collector is up was a connection too.
	if err := settled(ctx, nil); err != nil {
		return err
	}
	rows := [][]string{{"seconds", "MB", "runs of our programs"}}
	var counts []uint64
	for _, seconds := range []string{"0.5", "3"} {
		before := programs()
		n, err := b.load.numbers(ctx, p.client, "stream", p.address, p.port, seconds)
		if err != nil {
			return err
		}
		if err := settled(ctx, before); err != nil {
			return err
		}
		did := work(ours, before, programs())
		counts = append(counts, did.count)
		rows = append(rows, []string{seconds, fmt.Sprintf("%.0f", n[0]/1e6), fmt.Sprint(did.count)})
	}
	b.report.table("No run per packet", "The runs of one connection's whole life, short and long.", rows...)
	b.report.row("program runs for a stream of 0.5 s and of 3 s", "the same", fmt.Sprintf("%d and %d", counts[0], counts[1]), counts[0] == counts[1])
	return nil
}

// settled waits until our programs have run since before, and then not for a while: a close comes a moment after the
// client's end.
func settled(ctx context.Context, before map[string]ran) error {
	const looks = 25
	var last ran
	same := 0
	return until(ctx, 5*time.Second, func() bool {
		now := work(ours, before, programs())
		if now == last {
			same++
		} else {
			same = 0
		}
		last = now
		return now.count > 0 && same >= looks
	})
}
