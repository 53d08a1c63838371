// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"net/netip"
	"slices"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// kernelRules returns the rules that the kernel can decide when a connection opens. Naming asks all of them: an end may
// match only once what NAT did is known, and ::/0 is all of IPv6 only there.
func kernelRules(all []naming.Rule) (rules []probe.Rule) {
	for i := range all {
		if all[i].ByIdentity() || slices.ContainsFunc(all[i].CIDRs, coversMapped) {
			continue
		}
		rule := probe.Rule{CIDRs: all[i].CIDRs, Ports: all[i].Ports}
		for _, d := range all[i].Directions {
			rule.Direction = probe.Outbound
			if d == flow.Inbound {
				rule.Direction = probe.Inbound
			}
		}
		rules = append(rules, rule)
	}
	return rules
}

// coversMapped returns whether a prefix of IPv6 has the mapped addresses in it, which are of IPv4. A prefix never contains
// such an address for netip, so its own bits are compared.
func coversMapped(p netip.Prefix) bool {
	if p.Addr().Is4() || p.Bits() > 80 {
		return false
	}
	zeros, err := netip.IPv6Unspecified().Prefix(p.Bits())
	return err == nil && p.Masked() == zeros
}
