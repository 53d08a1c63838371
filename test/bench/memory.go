// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// memory is that of the whole distribution under load, with a thousand series.
func memory(ctx context.Context, b *bench) (err error) {
	p := b.veth("7000")
	server, err := b.load.serve(ctx, p.server, "serve", "answer", p.port)
	if err != nil {
		return err
	}
	defer server.stop()
	w, err := b.begin(ctx, defaults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	c, err := b.connect(ctx, p, 30*time.Second, 10_000, serverAddresses)
	if err != nil {
		return err
	}
	most := w.memory("VmHWM")
	b.report.table("Memory under load", "30 s; the most that was ever resident, with the kernel's ring buffers, which are mapped.",
		[]string{"connections/s", "series", "most resident, MiB", "anonymous at the end, MiB"},
		[]string{fmt.Sprintf("%.0f", c.rate), fmt.Sprint(serverAddresses * 2 * 4), mib(most), mib(w.memory("RssAnon"))})
	b.report.row("resident memory of the whole distribution at 10,000 connections/s and 1,000 series", "≤ 100 MiB",
		fmt.Sprintf("%s MiB at %.0f connections/s", mib(most), c.rate), most <= 100<<20)
	return nil
}

// start is how soon there is a first access log record after the collector says that it is up.
func start(ctx context.Context, b *bench) error {
	var took figures
	for range b.rounds {
		d, err := b.firstRecord(ctx)
		if err != nil {
			return err
		}
		took = append(took, float64(d.Milliseconds()))
	}
	b.report.row("start to first record", "≤ 1 s after the collector is up", took.text("%.0f ms"), took.median() <= 1000)
	return nil
}

func (b *bench) firstRecord(ctx context.Context) (d time.Duration, err error) {
	file := filepath.Join(b.work, "first.json")
	_ = os.Remove(file)
	p := b.veth("7000")
	server, err := b.load.serve(ctx, p.server, "serve", "answer", p.port)
	if err != nil {
		return 0, err
	}
	defer server.stop()
	w, err := b.begin(ctx, collector("first record", "testdata/bench/first.yaml"), "BENCH_FILE="+file)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	if _, err := b.connect(ctx, p, 10*time.Millisecond, 0, 1); err != nil {
		return 0, err
	}
	err = until(ctx, 10*time.Second, func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 0
	})
	return time.Since(w.up), err
}
