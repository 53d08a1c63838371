// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartsHoldEachSeriesOnceAndEndedOnesLast(t *testing.T) {
	next := int64(0)
	points := func(n int) (all []Point) {
		for range n {
			next++
			all = append(all, Point{Values: Counters{Sent: next}})
		}
		return all
	}
	for size := 1; size < 25; size++ {
		next = 0
		s := &Snapshot{ID: 3, At: 9}
		s.Service.Live, s.Workload.Live, s.Connection.Live = points(7), points(0), points(4)
		s.Service.Ended, s.Workload.Ended, s.Connection.Ended = points(5), points(3), points(1)
		var got []int64
		for part := range s.Parts(size) {
			require.Equal(t, uint64(3), part.ID)
			require.Equal(t, s.At, part.At)
			held := 0
			for _, stretch := range stretches {
				for _, p := range *stretch(part) {
					got = append(got, p.Values[Sent])
					held++
				}
			}
			require.Positive(t, held)
			require.LessOrEqual(t, held, size)
		}
		require.Len(t, got, 20)
		require.IsIncreasing(t, got)
	}
	for range (&Snapshot{}).Parts(5) {
		t.Error("an empty snapshot has no parts")
	}
	for range (&Snapshot{Service: Points{Live: points(9)}}).Parts(2) {
		break // must not go on
	}
}
