// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

const (
	scanBuckets = 1 << 15 // in one run of the program: the kernel does not give the CPU away meanwhile
	scanRounds  = 100     // how often sockets that were busy are sought again
)

// errNoTable means that no socket has shown where the kernel keeps its sockets.
var errNoTable = errors.New("the kernel's table of sockets is not known: set_state saw no socket of this process listen")

// learnTable has set_state see a socket, which leads to the table of all of them.
func (p *Probe) learnTable() error {
	var table uint64
	for range scanRounds { // some kernels hide a change now and then
		if err := p.objects.socketTable.Get(&table); err != nil {
			return fmt.Errorf("look for the kernel's table of sockets: %w", err)
		}
		if table != 0 {
			return nil
		}
		if err := listenOnce(); err != nil {
			return fmt.Errorf("look for the kernel's table of sockets: %w", err)
		}
	}
	return errNoTable
}

func listenOnce() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	// For nobody else; a namespace without that address takes any.
	_ = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	return unix.Listen(fd, 1)
}

// scanOlder gives those older sockets an entry that no file leads to. From then on an established
// end without an entry is one whose opening was missed.
func (p *Probe) scanOlder() error {
	if err := p.learnTable(); err != nil {
		return err
	}
	before, err := p.Tally()
	if err != nil {
		return err
	}
	p.missed = p.missedChanges()
	if err := p.scan(true); err != nil {
		return err
	}
	after, err := p.Tally()
	if err != nil {
		return err
	}
	p.scannable = true
	if after.Untracked != before.Untracked {
		return nil // older ones without an entry stay: who has none later may be one of them
	}
	const microsecond = 1000 // ns
	if err := p.objects.allFound.Set(uint64(systemTime(unix.CLOCK_MONOTONIC)) / microsecond); err != nil {
		return fmt.Errorf("end the search for older connections: %w", err)
	}
	return nil
}

// scanMissed gives the open connections an entry whose opening was missed since the last time.
func (p *Probe) scanMissed() error {
	missed := p.missedChanges()
	if !p.scannable || missed == p.missed {
		return nil
	}
	var since uint64
	if err := p.objects.allFound.Get(&since); err != nil || since == 0 {
		return err
	}
	p.missed = missed
	return p.scan(false)
}

// missedChanges is how often the kernel did not run set_state because it was running on that CPU.
func (p *Probe) missedChanges() uint64 {
	stats, err := p.objects.setState.Stats()
	if err != nil {
		return 0
	}
	return stats.RecursionMisses
}

// scan goes over the kernel's table of sockets until none of them was busy.
func (p *Probe) scan(older bool) error {
	ctx := bpf.TCPScan{Count: scanBuckets}
	if older {
		ctx.Older = 1
	}
	for range scanRounds {
		var busy uint32
		for ctx.From = 0; ; ctx.From += scanBuckets {
			options := ebpf.RunOptions{Context: ctx, ContextOut: &ctx}
			code, err := p.objects.scan.Run(&options)
			if err != nil {
				return fmt.Errorf("run scan_sockets: %w", err)
			}
			if code != 0 {
				return errNoTable
			}
			busy += ctx.Busy
			if ctx.From+scanBuckets >= ctx.Buckets {
				break
			}
			ctx.Busy = 0
		}
		ctx.Busy = 0
		if busy == 0 {
			return nil
		}
	}
	if older {
		return fmt.Errorf("scan the kernel's table of sockets: some of them were busy %d times", scanRounds)
	}
	return nil
}
