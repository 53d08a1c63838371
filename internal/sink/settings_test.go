// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNeedsAddUp(t *testing.T) {
	var all Needs
	for _, one := range []Needs{{}, {Idle: true, Period: time.Minute}, {First: true}, {TCPInfo: true, Period: time.Second}, {Period: time.Hour}, {Trace: true}} {
		all.Add(one)
	}
	require.Equal(t, Needs{Idle: true, First: true, TCPInfo: true, Trace: true, Period: time.Second}, all)
}
