// SPDX-License-Identifier: Apache-2.0

package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestErrorsNameTheKeyAndWhatToWrite(t *testing.T) {
	require.NoError(t, Within("k", time.Second, time.Second, time.Second))
	require.NoError(t, Within("k", 0, 0, time.Second))
	require.EqualError(t, Within("k", 5, 0, time.Second), "k is 5ns: write a unit, e.g. 5s")
	require.EqualError(t, Within("k", time.Second, time.Minute, time.Hour), "k is 1s: it must be at least 1m0s")
	require.EqualError(t, Within("k", time.Minute, 0, time.Second), "k is 1m0s: it must be at most 1s")
	require.NoError(t, NotEmpty("k", "v", "a value"))
	require.EqualError(t, NotEmpty("k", "", "a value"), "k is empty: write a value")
	require.NoError(t, OneOf("k", "", "", "a", "b"))
	require.EqualError(t, OneOf("k", "c", "", "a", "b"), `k is "c": it must be one of a, b`)
}
