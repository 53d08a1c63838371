// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command scale measures a directory of names over a real API server with made-up pods, and writes its table into
// docs/scaling.md. It needs no root. The pods get their addresses by patched statuses: nothing runs in them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings are what a run takes.
type settings struct {
	pods, services, agents, peers, turns int
	out                                  string
	away                                 time.Duration
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "directory" {
		exit(runDirectory(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		exit(runAgent(os.Args[2:]))
	}
	s := settings{}
	flag.IntVar(&s.pods, "pods", 50_000, "pods of the cluster")
	flag.IntVar(&s.services, "services", 0, "services, each with as many pods behind it; 0: a tenth of the pods")
	flag.IntVar(&s.agents, "agents", 100, "simulated agents, beside three real ones")
	flag.IntVar(&s.peers, "peers", 300, "addresses that an agent meets")
	flag.IntVar(&s.turns, "turns", 10, "pods that each of 20 addresses has in turn")
	flag.DurationVar(&s.away, "away", 30*time.Second, "how long the API server is away")
	flag.StringVar(&s.out, "out", "docs/scaling.md", "whose table is written; empty: none is")
	flag.Parse()
	if s.services == 0 {
		s.services = s.pods / 10
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	exit(run(ctx, &s))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// few is the cluster that the whole one is compared with.
const few = 1000

func run(ctx context.Context, s *settings) (err error) {
	work, err := os.MkdirTemp("", "kmesh-scale")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	c, err := startCluster(ctx, work)
	if err != nil {
		return err
	}
	defer c.stop()
	r := newReport(s)
	before, err := c.watches(ctx)
	if err != nil {
		return err
	}

	// A cluster of few pods, for comparison.
	if err := c.fill(ctx, 0, min(few, s.pods), s.services); err != nil {
		return err
	}
	small, err := c.startDirectories(ctx, 1)
	if err != nil {
		return err
	}
	smallHeap, err := small[0].heap(ctx)
	if err != nil {
		return err
	}
	smallAgent, err := agentHeap(ctx, small[0].address, min(few, s.pods), s.peers)
	if err != nil {
		return err
	}
	small[0].kill()

	began := time.Now()
	if err := c.fill(ctx, min(few, s.pods), s.pods, s.services); err != nil {
		return err
	}
	r.row("%d pods and %d services made in", time.Since(began).Round(time.Second).String(), s.pods, s.services)
	replicas, err := c.startDirectories(ctx, 2)
	if err != nil {
		return err
	}
	defer replicas[0].kill()
	defer replicas[1].kill()
	heap, err := replicas[0].heap(ctx)
	if err != nil {
		return err
	}
	r.row("directory: heap", bytesOf(heap.Heap))
	r.row("directory: heap a pod (with its share of services and slices)", fmt.Sprintf("%d B", (int64(heap.Heap)-int64(smallHeap.Heap))/int64(max(1, s.pods-few))))
	r.row("directory: resident", bytesOf(heap.Resident))
	with, err := c.watches(ctx)
	if err != nil {
		return err
	}
	r.row("watches at the API server of two replicas", fmt.Sprint(with-before))

	big, err := agentHeap(ctx, replicas[0].address, s.pods, s.peers)
	if err != nil {
		return err
	}
	r.row("agent: heap with %d peers, of %d pods", bytesOf(smallAgent), s.peers, min(few, s.pods))
	r.row("agent: heap with %d peers, of %d pods", bytesOf(big), s.peers, s.pods)

	if err := rollOut(ctx, s, c, replicas, r, with); err != nil {
		return err
	}
	if err := turnsAndOutages(ctx, s, c, replicas, r); err != nil {
		return err
	}
	return r.write(s.out)
}
