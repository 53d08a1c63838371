// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
)

// FuzzSources reads whatever comes as an answer: an address or an error, and never anything else.
func FuzzSources(f *testing.F) {
	f.Add(entry(pod).Data)
	f.Add(entry(pod).Data[:headerSize+6])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, to, err := sources([]netlink.Message{{Data: data}})
		require.NotEqual(t, err == nil, !to.Addr().IsValid())
		require.NotEqual(t, err == nil, to.Port() == 0)
	})
}
