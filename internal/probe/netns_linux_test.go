// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// Two hosts with the same addresses: one is a pod as a runtime makes it, the other what any user can make.
func TestARecordHasTheNetworkNamespaceAndWhoMadeIt(t *testing.T) {
	const address = "10.244.0.11:8080"
	pod := testhost.NewNetwork(t).Host("pod", "10.244.0.11/24")
	user := testhost.UserHost(t, "user", "10.244.0.11/24")
	require.NotEqual(t, pod.Inode(), user.Inode())
	type place struct {
		netns  uint32
		nested uint32
	}

	t.Run("open, closed and failed", func(t *testing.T) {
		p := open(t, Options{})
		for host, want := range map[*testhost.Host]place{pod: {pod.Inode(), 0}, user: {user.Inode(), 1}} {
			client, server := pair(t, host, listen(t, host, address))
			sendAndRead(t, client, server, 100)
			var records []Record
			require.NoError(t, p.Sweep(true, func(r *Record) {
				if toPort(8080)(r) {
					records = append(records, *r)
				}
			}))
			exchange(t, client, server, 1, 1)
			records = append(records, readUntil(t, p, toPort(8080), atLeast(2))...)
			host.Do(func() {
				_, err := net.Dial("tcp", "10.244.0.11:81")
				require.Error(t, err)
			})
			records = append(records, readUntil(t, p, toPort(81), atLeast(1))...)
			require.Len(t, records, 5)
			for _, r := range records {
				assert.Equal(t, want, place{r.Netns, uint32(r.Nested)}, "%+v", r)
			}
		}
	})
	t.Run("older", func(t *testing.T) {
		client, server := pair(t, user, listen(t, user, address))
		p := open(t, Options{})
		exchange(t, client, server, 1, 1)
		for _, r := range readUntil(t, p, toPort(8080), atLeast(2)) {
			assert.Equal(t, place{user.Inode(), 1}, place{r.Netns, uint32(r.Nested)}, "%+v", r)
		}
	})
	t.Run("spilled", func(t *testing.T) {
		p := open(t, Options{EndsBytes: 4096})
		pod.Do(func() { require.NoError(t, refuse(200)) })
		user.Do(func() { require.NoError(t, refuse(200)) })
		ends := make(map[place]uint64)
		require.NoError(t, p.Drain(func(s *Spilled) {
			if AddrPort(&s.Key.Destination).Port() == 81 {
				ends[place{s.Key.Netns, s.Key.Nested}] += s.Totals.Ends
			}
		}))
		assert.Len(t, ends, 2, "the same addresses in two namespaces are two keys: %v", ends)
		assert.Equal(t, uint64(200), ends[place{user.Inode(), 1}], "the ring was full before")
		assert.Positive(t, ends[place{pod.Inode(), 0}])
	})
}
