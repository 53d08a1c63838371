//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// maxRounds bounds one Sweep. What did not find room in that many passes is still in
// the sockets and comes with the next Sweep.
const maxRounds = 64

// Sweep hands over the open connections whose counters moved since they were last
// told of; with all, every open connection. While the kernel walks over the sockets
// it goes on to hand over ends that close.
func (p *Probe) Sweep(all bool, handle func(*Record)) error {
	p.clock = readClock(systemTime)
	if err := p.objects.SweepBegan.Set(uint64(systemTime(unix.CLOCK_BOOTTIME))); err != nil {
		return fmt.Errorf("begin to walk over the open connections: %w", err)
	}
	if err := p.objects.SweepAll.Set(all); err != nil {
		return fmt.Errorf("begin to walk over the open connections: %w", err)
	}
	for range maxRounds {
		before, err := p.Tally()
		if err != nil {
			return err
		}
		if err := p.walk(handle); err != nil {
			return err
		}
		after, err := p.Tally()
		if err != nil {
			return err
		}
		if after.Postponed == before.Postponed {
			return nil
		}
	}
	return nil
}

// walk makes one pass of the iterator and reads both rings beside it.
func (p *Probe) walk(handle func(*Record)) error {
	done := make(chan error, 1)
	go func() { done <- runIterator(p.open) }()
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

// runIterator runs a pass to its end. The programs write nothing to the iterator's
// own file, so that the pass is one read.
func runIterator(iterator *link.Iter) (err error) {
	pass, err := iterator.Open()
	if err != nil {
		return err
	}
	defer func() { _ = pass.Close() }()
	_, err = io.Copy(io.Discard, pass)
	return err
}

// findOlder gives the sockets that were there before the programs an entry:
// first the listeners, which tell the direction, then the connections.
func (p *Probe) findOlder() error {
	sockets, err := link.AttachIter(link.IterOptions{Program: p.objects.OlderSockets})
	if err != nil {
		return fmt.Errorf("attach the iterator over open files: %w", err)
	}
	defer func() { _ = sockets.Close() }()
	for _, listeners := range []bool{true, false} {
		if err := p.objects.SeekListeners.Set(listeners); err != nil {
			return fmt.Errorf("look for older connections: %w", err)
		}
		if err := runIterator(sockets); err != nil {
			return fmt.Errorf("look for older connections: %w", err)
		}
	}
	var at, process = bpf.TCPLocalPort{}, bpf.TCPProcess{}
	for entries := p.objects.OlderListeners.Iterate(); entries.Next(&at, &process); {
		p.listeners++
	}
	return nil
}
