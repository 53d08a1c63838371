// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func cidrs(all ...string) (parsed []netip.Prefix) {
	for _, cidr := range all {
		parsed = append(parsed, netip.MustParsePrefix(cidr))
	}
	return parsed
}

// The connection is sleep's (10.244.0.10, namespace default) to httpbin's service (10.96.5.5:8000), behind which is
// httpbin (10.244.0.11:80).
func TestEveryKeyOfARuleMustMatch(t *testing.T) {
	for name, tt := range map[string]struct {
		rules []Rule
		want  bool
	}{
		"no rule":                  {nil, false},
		"the source's address":     {[]Rule{{CIDRs: cidrs("10.244.0.10/32")}}, true},
		"the destination's":        {[]Rule{{CIDRs: cidrs("192.0.2.0/24", "10.244.0.11/32")}}, true},
		"the requested address":    {[]Rule{{CIDRs: cidrs("10.96.0.0/16")}}, true},
		"another address":          {[]Rule{{CIDRs: cidrs("10.245.0.0/16", "2001:db8::/32")}}, false},
		"the destination's port":   {[]Rule{{Ports: []uint16{443, 80}}}, true},
		"the requested port":       {[]Rule{{Ports: []uint16{8000}}}, true},
		"the source's port":        {[]Rule{{Ports: []uint16{51842}}}, false},
		"the direction":            {[]Rule{{Directions: []flow.Direction{flow.Outbound}}}, true},
		"the other direction":      {[]Rule{{Directions: []flow.Direction{flow.Inbound}}}, false},
		"the namespace":            {[]Rule{{Namespaces: []string{"kube-system", "default"}}}, true},
		"another namespace":        {[]Rule{{Namespaces: []string{"kube-system"}}}, false},
		"the source's workload":    {[]Rule{{Workloads: []string{"sleep"}}}, true},
		"the destination workload": {[]Rule{{Workloads: []string{"httpbin"}}}, true},
		"a pod":                    {[]Rule{{Workloads: []string{httpbinPod.Name}}}, true},
		"another workload":         {[]Rule{{Workloads: []string{"prometheus"}}}, false},
		"all keys":                 {[]Rule{{cidrs("10.244.0.0/16"), []uint16{80}, []flow.Direction{flow.Outbound}, []string{"default"}, []string{"sleep"}}}, true},
		"all but the port":         {[]Rule{{cidrs("10.244.0.0/16"), []uint16{81}, []flow.Direction{flow.Outbound}, []string{"default"}, []string{"sleep"}}}, false},
		"all but the workload":     {[]Rule{{cidrs("10.244.0.0/16"), []uint16{80}, []flow.Direction{flow.Outbound}, []string{"default"}, []string{"wake"}}}, false},
		"the second of two rules":  {[]Rule{{Ports: []uint16{81}}, {Workloads: []string{"sleep"}}}, true},
		"keys of different rules":  {[]Rule{{Ports: []uint16{80}, Workloads: []string{"wake"}}, {Ports: []uint16{81}, Workloads: []string{"sleep"}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			out := &sink{}
			n := New(Settings{Scope: ScopeAll, Exclude: tt.rules}, newWorld(), nil, out)
			c := to(httpbinAddr)
			c.Original = serviceAddr
			delta := c.Delta
			n.Add(c, noon)
			if !tt.want {
				require.Len(t, out.lines, 1)
				require.Zero(t, n.Stats().Excluded)
				return
			}
			require.Empty(t, out.lines)
			require.Equal(t, delta, n.Stats().Excluded)
			require.Zero(t, n.Stats().OutOfScope)
		})
	}
}

// What is out of scope counts once, as that.
func TestARuleThatMatchesWhatIsOutOfScope(t *testing.T) {
	w := newWorld()
	w.Workloads = nil
	n := New(Settings{Scope: ScopeKnown, Exclude: []Rule{{Ports: []uint16{80}}}}, w, nil, &sink{})
	c := to(httpbinAddr)
	n.Add(c, noon)
	require.Equal(t, c.Delta, n.Stats().OutOfScope)
	require.Zero(t, n.Stats().Excluded)
}

// A rule by name waits for the name.
func TestAnIdentityThatComesLateIsExcluded(t *testing.T) {
	w := newWorld()
	w.Workloads = map[netip.Addr]*identity.Workload{}
	w.Unsettled = map[netip.Addr]bool{sleepAddr.Addr(): true}
	out := &sink{}
	n := New(Settings{Scope: ScopeAll, Settle: 5 * time.Second, Exclude: []Rule{{Workloads: []string{"sleep"}}}}, w, nil, out)
	c := to(strangeAddr)
	c.Start = noon
	n.Add(c, noon)
	w.Learn(sleepAddr.Addr(), sleepPod)
	n.Settle(noon.Add(time.Second))
	require.Empty(t, out.lines)
	require.Equal(t, c.Delta, n.Stats().Excluded)
}
