// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// kernelRules returns the rules that the kernel can decide when a connection opens. Naming asks all of them: an end may
// match only once what NAT did is known.
func kernelRules(all []naming.Rule) (rules []probe.Rule) {
	for i := range all {
		if all[i].ByIdentity() {
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
