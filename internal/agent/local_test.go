// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheAddressesOfTheNodeAreReadNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("10.244.0.1")
		all, failure, reads := []netip.Addr{first}, error(nil), 0
		l := &locals{read: func() ([]netip.Addr, error) { reads++; return all, failure }}
		require.True(t, l.has(first))
		require.False(t, l.has(second))
		require.Equal(t, 1, reads)
		all = append(all, second)
		time.Sleep(localInterval)
		require.True(t, l.has(second))
		failure = errors.New("refused")
		time.Sleep(localInterval)
		require.True(t, l.has(second), "nothing shows that it is gone")
		require.Equal(t, 3, reads)
	})
}
