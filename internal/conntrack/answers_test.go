// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnswersThatAreAskedForStayAndTheOthersGo(t *testing.T) {
	a := newAnswers(100)
	first := netip.MustParseAddrPort("10.244.0.11:80")
	a.Add(1, first)
	for end := uint64(2); end < 1000; end++ {
		a.Add(end, netip.AddrPort{})
		to, known := a.Get(1)
		require.True(t, known)
		require.Equal(t, first, to)
		require.LessOrEqual(t, a.Len(), 100)
	}
	_, known := a.Get(2)
	require.False(t, known)
	for end := uint64(901); end < 1000; end++ {
		_, known = a.Get(end)
		require.True(t, known, "none of the newest 100 is forgotten")
	}
}
