// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

const interval = 5 * time.Second // the contract's collection_interval

// A million ends is what a machine of some size holds. Each connection takes some kilobytes of the kernel's memory.
const (
	manyConnections = 500_000
	manyNeeds       = 8 << 30 // bytes that must be free
)

// openConnections measures what connections that stay open cost, of which one in a hundred is active per interval.
func openConnections(ctx context.Context, b *bench) error {
	rows := [][]string{{"open connections", "CPU of one interval, ms", "memory of the process, MiB", "of it anonymous, MiB", "connection maps, MiB"}}
	row := func(n int, cost openCost) {
		rows = append(rows, []string{strconv.Itoa(n), cost.cpu.text("%.1f"), mib(cost.resident), mib(cost.anonymous), mib(cost.maps)})
	}
	var none, last openCost
	for _, n := range []int{0, 10_000, 50_000, 100_000} {
		cost, err := b.holding(ctx, defaults, n)
		if err != nil {
			return err
		}
		if n == 0 {
			none = cost
		}
		last = cost
		row(n, cost)
	}
	theirs, err := b.holding(ctx, tcplife, 100_000)
	if err != nil {
		return err
	}
	b.report.row("one interval with 100,000 open connections (200,000 ends), 1 % of them active", "≤ 60 ms of CPU",
		last.cpu.text("%.1f ms"), last.cpu.median() <= 60, theirs.cpu.text("%.1f ms")+"; it reports none of them")
	more := last.resident - none.resident
	b.report.row("memory of the collector with 100,000 open connections over that with none", "≤ 10 MiB in user space",
		fmt.Sprintf("%s MiB; %d B of state per end in the kernel", mib(more), stateBytes), more <= 10<<20)
	if free := available(); free < manyNeeds {
		b.report.figure("one interval with 1,000,000 open ends, 1 % of them active",
			fmt.Sprintf("not measured: %s MiB of memory are free, and %s are needed", mib(free), mib(manyNeeds)))
	} else {
		cost, err := b.holding(ctx, many, manyConnections)
		if err != nil {
			return err
		}
		row(manyConnections, cost)
		b.report.figure("one interval with 1,000,000 open ends, 1 % of them active, `max_connections: 1200000`",
			fmt.Sprintf("%s; the connection maps take %s MiB", cost.cpu.text("%.0f ms"), mib(cost.maps)))
	}
	b.report.table("Open connections", "Both ends are on this host, so each connection is two sockets to walk over. 1 in 100 sends a byte in each interval of 5 s. "+
		"The CPU is that of the whole collector over the interval, the walk in the kernel included. The maps are as the kernel accounts for them.", rows...)
	return nil
}

func mib(bytes float64) string { return fmt.Sprintf("%.1f", bytes/(1<<20)) }

type openCost struct {
	cpu                       figures // ms
	resident, anonymous, maps float64 // bytes
}

// holding measures the arm beside n connections.
func (b *bench) holding(ctx context.Context, a arm, n int) (cost openCost, err error) {
	files := openFiles()
	// Sockets go away after their processes: the next measurement shall not pay for them.
	defer func() {
		err = errors.Join(err, until(ctx, time.Minute, func() bool { return openFiles() < files+5000 }))
	}()
	w, err := b.begin(ctx, a)
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
	for range 3 {
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
	cost.resident, cost.anonymous, cost.maps = w.memory("VmRSS"), w.memory("RssAnon"), connectionMaps()
	return cost, nil
}

// connectionMaps is what all maps of connections take in the kernel, in bytes.
func connectionMaps() (sum float64) {
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if err != nil {
			return sum
		}
		id = next
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		if info, err := m.Info(); err == nil && strings.HasPrefix(info.Name, "connection_maps") {
			bytes, _ := info.Memlock()
			sum += float64(bytes)
		}
		_ = m.Close()
	}
}

// openFiles is how many files are open on the host.
func openFiles() int {
	text, _ := os.ReadFile("/proc/sys/fs/file-nr")
	n, _ := strconv.Atoi(strings.Fields(string(text) + " 0")[0])
	return n
}

// available is how much memory programs can still have, in bytes.
func available() float64 {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024
		}
	}
	return 0
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
