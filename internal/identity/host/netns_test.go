// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// In another network namespace a process has a connection with the very same addresses at the very same time.
func TestAConnectionInAnotherNetworkNamespaceIsAnotherOne(t *testing.T) {
	s := newSource(t, "192.0.2.10", "192.0.2.20")
	c := connection{"192.0.2.10:50000", "192.0.2.20:80", noon}
	seen := func(server bool, by *identity.Process, netns uint32, sequence uint64) string {
		end := c.end(server, by)
		end.Netns.Inode, end.Sequence = netns, sequence
		return s.name(end, noon)
	}
	mallory := identity.Process{PID: 66, Name: "mallory"}
	require.Equal(t, "curl-42", seen(false, &curl, 1, 12))
	require.Equal(t, "nginx-7", seen(true, &nginx, 2, 12))
	require.Equal(t, "mallory-66", seen(false, &mallory, 3, 34))
	require.Equal(t, "mallory-66", seen(true, &mallory, 3, 34))
	require.Equal(t, "nginx-7", seen(true, nil, 1, 12), "as the client's record has it")
	require.Equal(t, "curl-42", seen(false, nil, 2, 12), "as the server's record has it")
	require.Equal(t, "mallory-66", seen(true, nil, 3, 34))
}

func TestWhoListensIsAskedForByNetworkNamespace(t *testing.T) {
	s := newSource(t, "192.0.2.20")
	mallory := identity.Process{PID: 66, Name: "mallory"}
	listens := func(address string, by *identity.Process, netns uint32) {
		s.Resolve(identity.End{
			Address: netip.MustParseAddrPort(address), Peer: netip.MustParseAddrPort("192.0.2.10:1"), Server: true, Local: by,
			Netns: identity.Netns{Inode: netns}, Sequence: 1,
		}, noon)
	}
	at := func(address string, netns uint32) string {
		return s.name(identity.End{
			Address: netip.MustParseAddrPort(address), Peer: netip.MustParseAddrPort("192.0.2.10:2"), Server: true,
			Netns: identity.Netns{Inode: netns}, Sequence: 2,
		}, noon)
	}
	listens("192.0.2.20:80", &nginx, 2)
	listens("127.0.0.1:80", &nginx, 2)
	require.Equal(t, "nginx-7?", at("192.0.2.20:80", 1), "a client elsewhere")
	require.Equal(t, "nginx-7?", at("127.0.0.1:80", 2))
	require.Equal(t, "127.0.0.1?", at("127.0.0.1:80", 1), "another loopback")
	listens("192.0.2.20:80", &mallory, 3)
	require.Equal(t, "192.0.2.20?", at("192.0.2.20:80", 1), "it is not certain which")
	require.Equal(t, "nginx-7?", at("192.0.2.20:80", 2))
	require.Equal(t, "mallory-66?", at("192.0.2.20:80", 3))
}
