// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// Rule leaves connections out that all of its fields match. An empty field matches everything; a
// rule without any would leave out all, and is an error.
type Rule struct {
	CIDRs     []netip.Prefix // either end's address is in one of them
	Ports     []uint16       // one of them is the destination's
	Direction Direction      // of this end; 0: both
}

// The bounds of what the programs can hold.
const (
	maxRules    = 64
	maxPrefixes = 4096
	maxLengths  = 32
	maxPorts    = 4096
)

// exclusion is what the programs take of the rules: sets of rules, a bit for each.
type exclusion struct {
	all, anyAddress, anyPort, outbound, inbound uint64

	prefixes map[netip.Prefix]uint64
	ports    map[uint16]uint64
	lengths  []uint8 // of the prefixes, as those of IPv6
}

func newExclusion(rules []Rule) (*exclusion, error) {
	if len(rules) > maxRules {
		return nil, fmt.Errorf("exclude: %d rules, the kernel's part takes %d", len(rules), maxRules)
	}
	e := &exclusion{prefixes: make(map[netip.Prefix]uint64), ports: make(map[uint16]uint64)}
	for i := range rules {
		if err := e.add(&rules[i], 1<<i); err != nil {
			return nil, fmt.Errorf("exclude: rule %d: %w", i+1, err)
		}
	}
	for prefix := range e.prefixes {
		if bits := uint8(prefix.Bits()); !slices.Contains(e.lengths, bits) {
			e.lengths = append(e.lengths, bits)
		}
	}
	slices.Sort(e.lengths)
	if len(e.lengths) > maxLengths || len(e.prefixes) > maxPrefixes || len(e.ports) > maxPorts {
		return nil, fmt.Errorf("exclude: %d prefixes of %d lengths and %d ports, the kernel's part takes %d, %d and %d",
			len(e.prefixes), len(e.lengths), len(e.ports), maxPrefixes, maxLengths, maxPorts)
	}
	return e, nil
}

func (e *exclusion) add(rule *Rule, bit uint64) error {
	if len(rule.CIDRs) == 0 && len(rule.Ports) == 0 && rule.Direction == 0 {
		return fmt.Errorf("it has neither cidrs, nor ports, nor a direction, and would leave out everything")
	}
	e.all |= bit
	if len(rule.CIDRs) == 0 {
		e.anyAddress |= bit
	}
	for _, cidr := range rule.CIDRs {
		if !cidr.IsValid() {
			return fmt.Errorf("a cidr is not valid")
		}
		e.prefixes[mapped(cidr)] |= bit
	}
	if len(rule.Ports) == 0 {
		e.anyPort |= bit
	}
	for _, port := range rule.Ports {
		e.ports[port] |= bit
	}
	if rule.Direction != Inbound {
		e.outbound |= bit
	}
	if rule.Direction != Outbound {
		e.inbound |= bit
	}
	return nil
}

// mapped gives a prefix as the programs have it: IPv4 within IPv6.
func mapped(cidr netip.Prefix) netip.Prefix {
	cidr = cidr.Masked()
	if cidr.Addr().Is4() {
		return netip.PrefixFrom(netip.AddrFrom16(cidr.Addr().As16()), cidr.Bits()+96)
	}
	return cidr
}

// variables are the constants of the programs.
func (e *exclusion) variables() map[string]any {
	var lengths [maxLengths]uint8
	copy(lengths[:], e.lengths)
	return map[string]any{
		"exclude_rules":        e.all,
		"exclude_any_address":  e.anyAddress,
		"exclude_any_port":     e.anyPort,
		"exclude_outbound":     e.outbound,
		"exclude_inbound":      e.inbound,
		"exclude_lengths":      lengths,
		"exclude_lengths_used": uint32(len(e.lengths)),
	}
}

// fill puts addresses and ports into the programs' maps.
func (e *exclusion) fill(maps map[string]*ebpf.Map) error {
	for prefix, rules := range e.prefixes {
		key := bpf.TCPPrefix{Length: uint32(prefix.Bits())}
		bytes := prefix.Addr().As16()
		for i := range key.Addr {
			key.Addr[i] = binary.NativeEndian.Uint32(bytes[4*i:])
		}
		if err := maps["exclude_addresses"].Put(key, rules); err != nil {
			return fmt.Errorf("exclude %s: %w", prefix, err)
		}
	}
	for port, rules := range e.ports {
		if err := maps["exclude_ports"].Put(port<<8|port>>8, rules); err != nil {
			return fmt.Errorf("exclude port %d: %w", port, err)
		}
	}
	return nil
}
