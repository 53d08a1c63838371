// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func prefixes(cidrs ...string) (parsed []netip.Prefix) {
	for _, cidr := range cidrs {
		parsed = append(parsed, netip.MustParsePrefix(cidr))
	}
	return parsed
}

func TestExcludedConnectionsAreNotFollowed(t *testing.T) {
	sleep, httpbin := hosts(t)
	for _, row := range []struct {
		name     string
		rules    []Rule
		excluded int // ends, of the four to port 80 of both families
	}{
		{"other addresses", []Rule{{CIDRs: prefixes("10.99.0.0/16", "fd99::/16")}}, 0},
		{"the server's network", []Rule{{CIDRs: prefixes("10.244.0.0/24")}}, 2},
		{"one address of the client's", []Rule{{CIDRs: prefixes("10.244.0.10/32")}}, 2},
		{"IPv6", []Rule{{CIDRs: prefixes("fd00::/64")}}, 2},
		{"everything", []Rule{{CIDRs: prefixes("0.0.0.0/0", "::/0")}}, 4},
		{"a port", []Rule{{Ports: []uint16{443, 80}}}, 4},
		{"another port", []Rule{{Ports: []uint16{443}}}, 0},
		{"a direction", []Rule{{Direction: Outbound, Ports: []uint16{80}}}, 2},
		{"every key must match", []Rule{{Ports: []uint16{80}, CIDRs: prefixes("fd00::11/128"), Direction: Inbound}}, 1},
		{"one of two rules", []Rule{{Ports: []uint16{443}, CIDRs: prefixes("::/0")}, {Ports: []uint16{80}, CIDRs: prefixes("10.0.0.0/8")}}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := open(t, Options{Exclude: row.rules})
			for _, address := range []string{"10.244.0.11:80", "[fd00::11]:80"} {
				listener := listen(t, httpbin, address)
				client, server := pair(t, sleep, listener)
				exchange(t, client, server, 3, 5)
			}
			tally, err := p.Tally()
			require.NoError(t, err)
			assert.GreaterOrEqual(t, tally.Excluded, uint64(row.excluded))
			records := readUntil(t, p, toPort(80), atLeast(4-row.excluded))
			assert.Len(t, records, 4-row.excluded)
			assert.Empty(t, sweep(t, p, true, toPort(80)))
		})
	}
}

func TestRulesThatCannotBeAreRefused(t *testing.T) {
	_, err := newExclusion([]Rule{{}})
	require.ErrorContains(t, err, "rule 1: it has neither cidrs, nor ports, nor a direction")
	_, err = newExclusion(make([]Rule, maxRules+1))
	assert.ErrorContains(t, err, "65 rules")
}
