package conntrack

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnswersThatAreAskedForStayAndTheOthersGo(t *testing.T) {
	a := newAnswers()
	a.limit = 100
	first := netip.MustParseAddrPort("10.244.0.11:80")
	a.keep(1, first)
	for end := uint64(2); end < 1000; end++ {
		a.keep(end, netip.AddrPort{})
		to, known := a.find(1)
		require.True(t, known)
		require.Equal(t, first, to)
		require.LessOrEqual(t, len(a.recent)+len(a.older), 200)
	}
	_, known := a.find(2)
	require.False(t, known)
	_, known = a.find(901)
	require.True(t, known, "of the newest 100 none is forgotten")
}
