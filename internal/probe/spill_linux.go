// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// Drain hands over the totals of ends that found the ring full. An empty map takes
// the place of the one that is read; the kernel returns from that exchange only when
// no program still adds to the old one, so nothing is read twice or missed.
func (p *Probe) Drain(handle func(*Spilled)) error {
	p.drained = 0
	if empty(p.objects.spills) {
		return nil
	}
	full := p.objects.spills
	if err := p.objects.core.Maps["spilling"].Put(uint32(0), p.spare); err != nil {
		return fmt.Errorf("exchange the spill map: %w", err)
	}
	p.objects.spills, p.spare = p.spare, full

	var spilled Spilled
	entries := full.Iterate()
	for entries.Next(&spilled.Key, &spilled.Totals) {
		p.drained++
		p.counts.Spilled += spilled.Totals.Ends
		handle(&spilled)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read the spill map: %w", err)
	}
	fresh, err := ebpf.NewMap(p.spill)
	if err != nil {
		return fmt.Errorf("make a new spill map: %w", err)
	}
	p.spare = fresh
	if err := full.Close(); err != nil {
		return fmt.Errorf("free the spill map: %w", err)
	}
	return nil
}

func empty(spills *ebpf.Map) bool {
	var key bpf.TCPSpillKey
	return spills.NextKey(nil, &key) != nil
}
