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

// besieged is a world in which the network namespace 66 is an impostor's, and its local ends have no name.
type besieged struct{ *world }

func (besieged) Impostor(end identity.End, _ time.Time) bool { return end.Netns.Inode == 66 }

func (b besieged) Resolve(end identity.End, at time.Time) (*identity.Workload, bool) {
	if end.Netns.Inode == 66 && end.Local != nil {
		return nil, true
	}
	return b.world.Resolve(end, at)
}

func TestAnImpostorsRecordNamesNobody(t *testing.T) {
	networks := new(identity.Networks)
	networks.Add("pods", netip.MustParsePrefix("10.0.0.0/8"))
	for name, netns := range map[string]identity.Netns{
		"a workload's address elsewhere": {Inode: 66}, "a namespace that anybody may have made": {Inode: 67, Nested: true},
	} {
		for _, direction := range []flow.Direction{flow.Outbound, flow.Inbound} {
			w, out := newWorld(), &sink{}
			n := New(Settings{Scope: ScopeAll, Networks: networks}, besieged{w}, nil, out)
			c := closedConnection()
			c.Direction, c.Netns, c.Original = direction, netns, serviceAddr
			if netns.Nested { // as an index answers
				w.Workloads = nil
			}
			n.Add(c, noon)
			f := out.one(t).flow
			require.Nil(t, f.Source, name)
			require.Nil(t, f.Destination, name)
			require.Nil(t, f.Service, name)
			require.Nil(t, f.RequestedNetwork, name)
			require.Zero(t, n.Stats().Waiting, name)
			if !netns.Nested {
				require.Equal(t, uint64(1), n.Stats().Impostors)
			}
			strict := New(Settings{}, besieged{w}, nil, out)
			strict.Add(c, noon)
			require.Len(t, out.lines, 1, "it is out of scope")
			require.Equal(t, uint64(1), strict.Stats().OutOfScopeRecords)
		}
	}
}
