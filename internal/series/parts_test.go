// SPDX-License-Identifier: Apache-2.0

package series

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

func TestPartsHoldEachSeriesOnceAndEndedOnesLast(t *testing.T) {
	next := int64(0)
	points := func(n int) (all []Point) {
		for range n {
			next++
			all = append(all, Point{Values: flow.Counters{flow.Sent: next}})
		}
		return all
	}
	for size := 1; size < 25; size++ {
		next = 0
		s := &Snapshot{id: 3, At: 9}
		s.Service.Live, s.Workload.Live, s.Connection.Live = points(7), points(0), points(4)
		s.Service.Ended, s.Workload.Ended, s.Connection.Ended = points(5), points(3), points(1)
		var got []int64
		for part := range s.parts(size) {
			require.Equal(t, uint64(3), part.ID())
			require.Equal(t, s.At, part.At)
			held := 0
			for _, list := range pointLists {
				for _, p := range *list(part) {
					got = append(got, p.Values[flow.Sent])
					held++
				}
			}
			require.Positive(t, held)
			require.LessOrEqual(t, held, size)
		}
		require.Len(t, got, 20)
		require.IsIncreasing(t, got)
	}
	for range (&Snapshot{}).parts(5) {
		t.Error("an empty snapshot has no parts")
	}
	for range (&Snapshot{Service: Points{Live: points(9)}}).parts(2) {
		break // must not go on
	}
}
