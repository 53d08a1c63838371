// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// The kernel has addresses of IPv4 as mapped ones, which a short prefix of IPv6 would take in.
func TestRulesWithoutNamesAreTheKernels(t *testing.T) {
	rules, err := NewExclude([]ExcludeConfig{
		{CIDRs: []string{"169.254.0.0/16", "::ffff:10.0.0.0/104"}, Ports: []int{53, 65535}, Direction: "outbound"},
		{Ports: []int{80}, Namespaces: []string{"kube-system"}},
		{Direction: "inbound"},
		{Workloads: []string{"prometheus"}},
		{Ports: []int{443}},
		{CIDRs: []string{"::/0"}},
		{CIDRs: []string{"2001:db8::/32", "::/80"}, Ports: []int{53}},
	})
	require.NoError(t, err)
	require.Len(t, rules, 7)
	require.Equal(t, []probe.Rule{
		{CIDRs: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("10.0.0.0/8")}, Ports: []uint16{53, 65535}, Direction: probe.Outbound},
		{Direction: probe.Inbound},
		{Ports: []uint16{443}},
	}, kernelRules(rules))
	require.Nil(t, kernelRules(nil))
}
