//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// Tally is what the programs counted since they were loaded, over all CPUs.
type Tally = bpf.TCPTally

// Tally reads the programs' own counters.
func (p *Probe) Tally() (Tally, error) {
	var perCPU []Tally
	if err := p.objects.Tallies.Lookup(uint32(0), &perCPU); err != nil {
		return Tally{}, fmt.Errorf("read the programs' counters: %w", err)
	}
	var sum Tally
	for i := range perCPU {
		t := &perCPU[i]
		sum.Opened += t.Opened
		sum.Closed += t.Closed
		sum.Failed += t.Failed
		sum.Found += t.Found
		sum.Lost += t.Lost
		sum.Postponed += t.Postponed
		sum.Untracked += t.Untracked
		sum.SpillLost.Opened += t.SpillLost.Opened
		sum.SpillLost.Sent += t.SpillLost.Sent
		sum.SpillLost.Received += t.SpillLost.Received
		sum.SpillLost.Retransmits += t.SpillLost.Retransmits
		sum.SpillLost.Lost += t.SpillLost.Lost
		sum.SpillLostClosed += t.SpillLostClosed
		sum.SpillLostFailed += t.SpillLostFailed
	}
	return sum, nil
}

// Counts gives what the probe itself counted.
func (p *Probe) Counts() Counts {
	return p.counts
}

// MapUse is a map's present use.
type MapUse struct {
	Name    string
	Bytes   uint64 // as the kernel accounts for it
	Entries uint64
}

// Maps tells the use of each map. The entries of a ring are records that were not read
// yet; those of the spill map are what the last Drain found.
func (p *Probe) Maps() []MapUse {
	tally, _ := p.Tally()
	var uses []MapUse
	for _, m := range []struct {
		*ebpf.Map
		entries uint64
	}{
		{p.objects.Connections, tally.Opened + tally.Found - tally.Closed},
		{p.objects.Ends, uint64(unread(p.ends))},
		{p.objects.Opens, uint64(unread(p.opens))},
		{p.objects.Spills, p.drained},
		{p.objects.OlderListeners, p.listeners},
	} {
		described, err := m.Info()
		if err != nil {
			continue
		}
		use := MapUse{Name: described.Name, Entries: m.entries}
		use.Bytes, _ = described.Memlock()
		if use.Bytes == 0 && m.Type() == ebpf.RingBuf { // Linux before 6.4 does not tell
			use.Bytes = uint64(m.MaxEntries())
		}
		uses = append(uses, use)
	}
	return uses
}

// ProgramUse is what a program cost since it was loaded; zeros unless the kernel
// keeps these figures (sysctl kernel.bpf_stats_enabled=1).
type ProgramUse struct {
	Name string
	Runs uint64
	Time time.Duration
}

// Programs tells what each program cost.
func (p *Probe) Programs() []ProgramUse {
	var uses []ProgramUse
	for _, program := range []struct {
		name string
		*ebpf.Program
	}{
		{"set_state", p.objects.SetState},
		{"set_state_again", p.objects.SetStateAgain},
		{"connect4", p.objects.Connect4},
		{"connect6", p.objects.Connect6},
		{"open_connections", p.objects.OpenConnections},
		{"older_sockets", p.objects.OlderSockets},
	} {
		stats, err := program.Stats()
		if err != nil {
			continue
		}
		uses = append(uses, ProgramUse{Name: program.name, Runs: stats.RunCount, Time: stats.Runtime})
	}
	return uses
}
