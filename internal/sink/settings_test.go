// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNeedsAddUp(t *testing.T) {
	var all Needs
	for _, one := range []Needs{{}, {Idle: true, Period: time.Minute}, {First: true}, {Recount: true}, {Trace: true}, {TCPInfo: true, Period: time.Second}, {Period: time.Hour}} {
		all.Add(one)
	}
	require.Equal(t, Needs{Idle: true, First: true, Recount: true, TCPInfo: true, Trace: true, Period: time.Second}, all)
}
