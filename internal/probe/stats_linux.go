// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// Tally is what the programs counted since they were loaded, over all CPUs.
type Tally = bpf.TCPTally

// Tally reads the programs' own counters.
func (p *Probe) Tally() (Tally, error) {
	var perCPU []Tally
	if err := p.objects.core.Maps["tallies"].Lookup(uint32(0), &perCPU); err != nil {
		return Tally{}, fmt.Errorf("read the programs' counters: %w", err)
	}
	var sum Tally
	for i := range perCPU {
		for j, n := range tallyWords(&perCPU[i]) {
			tallyWords(&sum)[j] += n
		}
	}
	return sum, nil
}

// tallyWords is each counter of t: it consists of nothing else.
func tallyWords(t *Tally) *[unsafe.Sizeof(Tally{}) / 8]uint64 {
	return (*[unsafe.Sizeof(Tally{}) / 8]uint64)(unsafe.Pointer(t)) // #nosec G103 -- of its own size
}

// Stats returns the numbers of the probe and of its programs.
func (p *Probe) Stats() (Stats, error) {
	tally, err := p.Tally()
	if err != nil {
		return Stats{}, err
	}
	return Stats{Tally: tally, Counts: p.counts, Maps: p.maps(), Programs: p.programs()}, nil
}

// MapUse is a map's present use.
type MapUse struct {
	Name    string
	Bytes   uint64 // as the kernel accounts for it
	Entries uint64
}

// maps returns the use of each map. The entries of a ring are records that were not read
// yet; those of the spill map are what the last Drain found.
func (p *Probe) maps() []MapUse {
	core := p.objects.core.Maps
	uses := []MapUse{use("connections", p.tracked(), p.objects.connections...)}
	for _, m := range []struct {
		name    string
		entries uint64
		*ebpf.Map
	}{
		{"ends", uint64(p.unread(p.ends)), core["ends"]},
		{"opens", uint64(p.unread(p.opens)), core["opens"]},
		{"spills", p.drained, p.objects.spills},
		{"older_listeners", p.listeners, core["older_listeners"]},
	} {
		uses = append(uses, use(m.name, m.entries, m.Map))
	}
	return uses
}

// tracked is how many entries the maps of connections hold now, as the programs count them.
func (p *Probe) tracked() uint64 {
	var parts [16]bpf.TCPPart
	if err := p.objects.parts.Get(&parts); err != nil {
		return p.walked
	}
	var sum uint64
	for i := range parts {
		sum += uint64(parts[i].Entries)
	}
	return sum
}

// use adds up the memory of the maps that are one for the reader.
func use(name string, entries uint64, maps ...*ebpf.Map) MapUse {
	u := MapUse{Name: name, Entries: entries}
	for _, m := range maps {
		described, err := m.Info()
		if err != nil {
			continue
		}
		bytes, _ := described.Memlock()
		if bytes == 0 && m.Type() == ebpf.RingBuf { // Linux before 6.4 does not report it
			bytes = uint64(m.MaxEntries())
		}
		u.Bytes += bytes
	}
	return u
}

// ProgramUse is what a program cost since it was loaded; zeros unless the kernel
// keeps these figures (sysctl kernel.bpf_stats_enabled=1).
type ProgramUse struct {
	Name   string
	Loaded bool // false: the kernel refused it, or it is the variant that is not needed
	Runs   uint64
	Time   time.Duration
}

// programs returns what each program cost, in a fixed order.
func (p *Probe) programs() []ProgramUse {
	o := &p.objects
	var uses []ProgramUse
	for _, program := range []struct {
		name string
		*ebpf.Program
	}{
		{"set_state", o.setState},
		{partDestroy.Name, o.destroySock},
		{partConnect4.Name, o.connect4},
		{partConnect6.Name, o.connect6},
		{partRedirect.Name, o.redirect},
		{partAccepted.Name, o.accepted},
		{partHandedOver.Name, o.handedOver},
		{string(WalkSyscall), o.walk},
		{string(WalkIterator), o.iterate},
		{partOlder.Name, o.older},
		{partScan.Name, o.scan},
	} {
		use := ProgramUse{Name: program.name, Loaded: program.Program != nil}
		if use.Loaded {
			if stats, err := program.Stats(); err == nil {
				use.Runs, use.Time = stats.RunCount, stats.Runtime
			}
		}
		uses = append(uses, use)
	}
	return uses
}
