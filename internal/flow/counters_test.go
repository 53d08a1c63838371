// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCountersAddRaiseAndHaveNames(t *testing.T) {
	sum := Counters{Opened: 1, Sent: 5}
	sum.Add(Counters{Sent: -1, Failed: 2})
	require.Equal(t, Counters{Opened: 1, Sent: 4, Failed: 2}, sum)
	sum.Raise(Counters{Opened: 3, Sent: 2})
	require.Equal(t, Counters{Opened: 3, Sent: 4, Failed: 2}, sum)

	opened, closed, failed := sum.Ends()
	require.Equal(t, []int64{3, 0, 2}, []int64{opened, closed, failed})
	names := make(map[string]int64)
	for counter, n := range sum.All() {
		names[counter.String()] = n
	}
	require.Equal(t, map[string]int64{
		"opened": 3, "closed": 0, "failed": 2, "sent": 4, "received": 0, "retransmits": 0, "lost": 0,
	}, names)
}
