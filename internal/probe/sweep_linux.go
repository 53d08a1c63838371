// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// maxRounds bounds one Sweep. What did not find room in that many passes is still in
// the sockets and comes with the next Sweep.
const maxRounds = 64

// cleanEvery is how many Sweeps share one that also looks for entries whose socket is gone: there
// are none, but where the kernel hides the end of a socket from all programs.
const cleanEvery = 16

// Sweep hands over the open connections whose counters moved since they were last
// reported; with all, every open connection. While the kernel walks over the sockets
// it goes on to hand over ends that close. Without a program for the walk it does nothing.
func (p *Probe) Sweep(all bool, handle func(*Record)) error {
	p.clock = p.clock.next(systemTime)
	if p.objects.walk == nil && p.objects.iterate == nil {
		return nil
	}
	if err := p.objects.sweepBegan.Set(uint64(systemTime(unix.CLOCK_BOOTTIME))); err != nil {
		return fmt.Errorf("begin to walk over the open connections: %w", err)
	}
	if err := p.objects.sweepAll.Set(all); err != nil {
		return fmt.Errorf("begin to walk over the open connections: %w", err)
	}
	if err := p.scanMissed(); err != nil {
		return err
	}
	if err := p.objects.sweepCleans.Set(p.sweeps%cleanEvery == 0); err != nil {
		return fmt.Errorf("begin to walk over the open connections: %w", err)
	}
	p.sweeps++
	for range maxRounds {
		before, err := p.Tally()
		if err != nil {
			return err
		}
		if err := p.objects.entriesWalked.Set(uint64(0)); err != nil {
			return fmt.Errorf("begin to walk over the open connections: %w", err)
		}
		if err := p.walk(handle); err != nil {
			return err
		}
		if err := p.objects.entriesWalked.Get(&p.walked); err != nil {
			return fmt.Errorf("count the entries of open connections: %w", err)
		}
		p.counts.Walk, p.counts.LongestWalk = p.objects.walked, p.objects.longest
		after, err := p.Tally()
		if err != nil {
			return err
		}
		if after.Postponed == before.Postponed {
			return nil
		}
	}
	p.counts.Unfinished++
	return nil
}

// walk makes one pass over all maps of connections and reads both rings beside it.
func (p *Probe) walk(handle func(*Record)) error {
	done := make(chan error, 1)
	go func() { done <- p.objects.walkAll() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("walk over the open connections: %w", err)
			}
			return p.drain(p.opens, time.Now(), handle)
		default:
		}
		if err := p.drain(p.opens, time.Now().Add(5*time.Millisecond), handle); err != nil {
			return err
		}
		if err := p.drain(p.ends, time.Now(), handle); err != nil {
			return err
		}
	}
}

// walkAll walks over the maps of connections one by one. The kernel gives the CPU to
// others between two of them, and not before.
func (o *objects) walkAll() error {
	o.walked, o.longest = 0, 0
	for i := range o.connections {
		var err error
		began := time.Now()
		if o.walk != nil {
			err = o.runWalk(i)
		} else {
			err = runIterator(o.iterators[i])
		}
		if err != nil {
			return err
		}
		took := time.Since(began)
		o.walked += took
		o.longest = max(o.longest, took)
	}
	return nil
}

// runWalk has the program walk over one map of connections.
func (o *objects) runWalk(part int) error {
	if _, err := o.walk.Run(&ebpf.RunOptions{Context: &bpf.TCPWalk{Map: uint32(part)}}); err != nil {
		return fmt.Errorf("run %s: %w", WalkSyscall, err)
	}
	return nil
}

// runIterator runs a pass to its end. The programs write nothing to the iterator's own file,
// so that the pass is one read; the kernel interrupts it after a million objects without
// output, and goes on from there at the next one.
func runIterator(iterator *link.Iter) (err error) {
	pass, err := iterator.Open()
	if err != nil {
		return err
	}
	defer func() { _ = pass.Close() }()
	for {
		if _, err = io.Copy(io.Discard, pass); !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
}

// findOlder gives the sockets that were there before the programs an entry:
// first the listeners, which give the direction, then the connections.
func (p *Probe) findOlder() error {
	sockets, err := link.AttachIter(link.IterOptions{Program: p.objects.older})
	if err != nil {
		return fmt.Errorf("attach the iterator over open files: %w", err)
	}
	defer func() { _ = sockets.Close() }()
	for _, listeners := range []bool{true, false} {
		if err := p.objects.seekListeners.Set(listeners); err != nil {
			return fmt.Errorf("look for older connections: %w", err)
		}
		if err := runIterator(sockets); err != nil {
			return fmt.Errorf("look for older connections: %w", err)
		}
	}
	var at, process = bpf.TCPLocalPort{}, bpf.TCPProcess{}
	for entries := p.objects.core.Maps["older_listeners"].Iterate(); entries.Next(&at, &process); {
		p.listeners++
	}
	if err := p.objects.listenersRefused.Get(&p.counts.ListenersRefused); err != nil {
		return fmt.Errorf("look for older connections: %w", err)
	}
	return nil
}
