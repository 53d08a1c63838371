// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	curl  = identity.Process{PID: 42, Name: "curl"}
	nginx = identity.Process{PID: 7, Name: "nginx"}
)

func newSource(t testing.TB, addresses ...string) *Source {
	t.Helper()
	s := New("node-a")
	s.addresses = func() ([]netip.Addr, error) {
		var all []netip.Addr
		for _, a := range addresses {
			all = append(all, netip.MustParseAddr(a))
		}
		return all, nil
	}
	s.virtual = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")} }
	require.NoError(t, s.refresh())
	return s
}

// connection is one as both its ends see it.
type connection struct {
	client, server string
	began          time.Time
}

func (c connection) end(server bool, local *identity.Process) identity.End {
	e := identity.End{Address: netip.MustParseAddrPort(c.client), Peer: netip.MustParseAddrPort(c.server), Local: local}
	if server {
		e.Address, e.Peer, e.Server = e.Peer, e.Address, true
	}
	return e
}

// outbound names both ends for the record of the client's socket, and inbound for that of the server's.
func (s *Source) outbound(c connection, p identity.Process) string {
	return s.name(c.end(false, &p), c.began) + " → " + s.name(c.end(true, nil), c.began)
}

func (s *Source) inbound(c connection, p identity.Process) string {
	return s.name(c.end(false, nil), c.began) + " → " + s.name(c.end(true, &p), c.began)
}

func (s *Source) name(end identity.End, at time.Time) string {
	w, settled := s.Resolve(end, at)
	name := "nobody"
	if w != nil {
		name = w.Name
	}
	if !settled {
		name += "?"
	}
	return name
}

func TestARemoteEndIsSettledAtOnce(t *testing.T) {
	s := newSource(t, "192.0.2.10")
	require.Equal(t, "curl-42 → 198.51.100.7", s.outbound(connection{"192.0.2.10:50000", "198.51.100.7:443", noon}, curl))
	require.Equal(t, "198.51.100.7 → nginx-7", s.inbound(connection{"198.51.100.7:50000", "192.0.2.10:80", noon}, nginx))
	require.Equal(t, "2001:db8::7 → nginx-7", s.inbound(connection{"[2001:db8::7%eth0]:50000", "[2001:db8::1]:80", noon}, nginx))
}

func TestTheEndsOfALocalConnectionNameEachOther(t *testing.T) {
	for name, c := range map[string]connection{
		"loopback":               {"127.0.0.1:50000", "127.0.0.1:80", noon},
		"IPv6":                   {"[::1]:50000", "[::1]:80", noon},
		"mapped":                 {"[::ffff:127.0.0.1]:50000", "127.0.0.1:80", noon},
		"the host's own address": {"192.0.2.10:50000", "192.0.2.10:80", noon},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, "192.0.2.10")
			server := netip.MustParseAddrPort(c.server).Addr().String()
			require.Equal(t, "curl-42 → "+server+"?", s.outbound(c, curl))
			generation := s.Generation()
			require.Equal(t, "curl-42 → nginx-7", s.inbound(c, nginx))
			require.NotEqual(t, generation, s.Generation(), "the waiting record must be tried again")
			require.Equal(t, "curl-42 → nginx-7", s.outbound(c, curl))

			generation = s.Generation()
			s.outbound(c, curl)
			s.inbound(c, nginx)
			require.Equal(t, generation, s.Generation(), "nothing new was learned: trying again must end")
		})
	}
}

func TestAnAddressInAnotherNetworkNamespaceIsMet(t *testing.T) {
	s := newSource(t, "192.0.2.10")
	require.Equal(t, "curl-42 → 10.244.0.11", s.outbound(connection{"10.244.0.10:50000", "10.244.0.11:80", noon}, curl), "nobody met it yet")
	require.Equal(t, "curl-42 → nginx-7", s.inbound(connection{"10.244.0.10:50000", "10.244.0.11:80", noon}, nginx))
	require.Equal(t, "10.244.0.10? → nginx-7", s.inbound(connection{"10.244.0.10:50001", "10.244.0.11:80", noon}, nginx))
}

func TestAListenerIsTheBestGuess(t *testing.T) {
	s := newSource(t)
	s.inbound(connection{"127.0.0.1:50000", "127.0.0.1:80", noon}, nginx)
	require.Equal(t, "curl-42 → nginx-7?", s.outbound(connection{"127.0.0.1:50001", "127.0.0.1:80", noon.Add(time.Hour)}, curl))
	require.Equal(t, "curl-42 → 127.0.0.1?", s.outbound(connection{"127.0.0.1:50001", "127.0.0.1:81", noon.Add(time.Hour)}, curl))
	require.Equal(t, "127.0.0.1? → nginx-7", s.inbound(connection{"127.0.0.1:80", "127.0.0.1:8080", noon.Add(time.Hour)}, nginx),
		"a client's port is not the listener's")
}

func TestPortsAreUsedAgain(t *testing.T) {
	s := newSource(t)
	first := connection{"127.0.0.1:50000", "127.0.0.1:80", noon}
	second := connection{first.client, first.server, noon.Add(time.Minute)}
	wget := identity.Process{PID: 43, Name: "wget"}
	s.outbound(first, curl)
	require.Equal(t, "127.0.0.1? → nginx-7", s.inbound(second, nginx), "the first connection's client is not the second's")
	s.outbound(second, wget)
	require.Equal(t, "wget-43 → nginx-7", s.inbound(second, nginx))

	generation := s.Generation()
	s.outbound(first, curl) // it waited
	require.Equal(t, "wget-43 → nginx-7", s.inbound(second, nginx))
	require.Equal(t, generation, s.Generation())
	require.Equal(t, "127.0.0.1? → nginx-7", s.inbound(first, nginx), "a minute lies between them")
}

func TestTheSecondSideMayBeginALittleLater(t *testing.T) {
	s := newSource(t)
	c := connection{"127.0.0.1:50000", "127.0.0.1:80", noon}
	s.outbound(c, curl)
	c.began = noon.Add(3 * time.Second) // two SYNs were dropped
	require.Equal(t, "curl-42 → nginx-7", s.inbound(c, nginx))
}

func TestAPIDIsUsedAgain(t *testing.T) {
	s := newSource(t)
	c := connection{"127.0.0.1:50000", "198.51.100.7:80", noon}
	require.Equal(t, "curl-42 → 198.51.100.7", s.outbound(c, curl))
	require.Equal(t, "wget-42 → 198.51.100.7", s.outbound(c, identity.Process{PID: 42, Name: "wget"}))
	require.Equal(t, "curl-43 → 198.51.100.7", s.outbound(c, identity.Process{PID: 43, Name: "curl"}))
	require.Equal(t, identity.Held{Workloads: 3}, s.Held())
}

func TestAnUnknownProcessTeachesNothing(t *testing.T) {
	s := newSource(t)
	c := connection{"127.0.0.1:50000", "127.0.0.1:80", noon}
	require.Equal(t, "127.0.0.1? → -", s.inbound(c, identity.Process{}))
	require.Equal(t, "curl-42 → 127.0.0.1?", s.outbound(c, curl))
}

func TestAnEndWithoutAPortWaitsForNobody(t *testing.T) {
	s := newSource(t)
	require.Equal(t, "127.0.0.1 → nginx-7", s.inbound(connection{"127.0.0.1:0", "127.0.0.1:80", noon}, nginx))
}

func TestAnEndWithoutAnAddressIsNobody(t *testing.T) {
	s := newSource(t)
	w, settled := s.Resolve(identity.End{}, noon)
	require.Nil(t, w)
	require.True(t, settled)
	w, _ = s.Resolve(identity.End{Local: &curl}, noon)
	require.Equal(t, "curl-42", w.Name)
	require.Nil(t, s.Service(netip.AddrPort{}, netip.MustParseAddrPort("127.0.0.1:80"), w, noon))
}

func TestMemoryIsBounded(t *testing.T) {
	s := newSource(t)
	for i := range uint32(2 * maxEnds) {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 50000)
		server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 128 + byte(i>>16), byte(i >> 8), byte(i)}), 80)
		s.Resolve(identity.End{Address: client, Peer: server, Local: &identity.Process{PID: i + 1, Name: fmt.Sprint(i)}}, noon)
		s.Resolve(identity.End{Address: server, Peer: client, Server: true}, noon)
	}
	require.Equal(t, maxEnds, s.ends.Len())
	require.Equal(t, maxProcesses, s.processes.Len())
	require.Equal(t, maxRemotes, s.remotes.Len())
	require.Equal(t, maxAddresses, s.local.seen.Len())
}

func TestTheHostsAddressesAreAskedAgain(t *testing.T) {
	s := newSource(t)
	c := connection{"127.0.0.1:50000", "192.0.2.20:80", noon}
	require.Equal(t, "curl-42 → 192.0.2.20", s.outbound(c, curl))
	s.addresses = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.20")}, nil }
	require.NoError(t, s.refresh())
	require.Equal(t, "curl-42 → 192.0.2.20?", s.outbound(c, curl))

	s.addresses = func() ([]netip.Addr, error) { return nil, errors.New("not now") }
	require.Error(t, s.refresh())
	require.False(t, s.InSync())
	require.Equal(t, "curl-42 → 192.0.2.20?", s.outbound(c, curl), "what was known stays")
}

func TestStartAndClose(t *testing.T) {
	s := New("node-a")
	require.NoError(t, s.Close(), "before Start")
	require.False(t, s.InSync())
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, s.Start(ctx))
	cancel()
	require.True(t, s.InSync())
	require.Contains(t, s.local.interfaces, netip.MustParseAddr("127.0.0.1"))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())

	s.addresses = func() ([]netip.Addr, error) { return nil, errors.New("operation not permitted") }
	require.EqualError(t, s.Start(context.Background()),
		"ask for the addresses of the host's interfaces: operation not permitted: netlink must be allowed")
}

func TestAnAnswerThatIsKnownAllocatesNothing(t *testing.T) {
	s := newSource(t)
	c := connection{"127.0.0.1:50000", "127.0.0.1:80", noon}
	ends := []identity.End{c.end(false, &curl), c.end(true, nil), c.end(false, nil), c.end(true, &nginx),
		{Address: netip.MustParseAddrPort("198.51.100.7:443")}}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for _, end := range ends {
			s.Resolve(end, noon)
		}
	}))
}

func BenchmarkNewConnection(b *testing.B) {
	s := newSource(b)
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i++
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(i >> 16), byte(i >> 8)}), uint16(i))
		server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 80)
		s.Resolve(identity.End{Address: client, Peer: server, Local: &curl}, noon)
		s.Resolve(identity.End{Address: server, Peer: client, Server: true}, noon)
	}
}

func BenchmarkRemote(b *testing.B) {
	s := newSource(b)
	end := identity.End{Address: netip.MustParseAddrPort("198.51.100.7:443")}
	b.ReportAllocs()
	for b.Loop() {
		s.Resolve(end, noon)
	}
}

// The first connection to a container that has just come must not have an address where the later ones have its process.
func TestANewContainerIsLookedFor(t *testing.T) {
	s := newSource(t)
	at := time.Now()
	end := identity.End{Address: netip.MustParseAddrPort("172.17.0.9:80"), Peer: netip.MustParseAddrPort("172.17.0.1:40000"), Server: true}
	w, settled := s.Resolve(end, at)
	require.Equal(t, "172.17.0.9", w.Name)
	require.False(t, settled)
	require.Len(t, s.wake, 1)
	generation := s.Generation()
	s.addresses = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("172.17.0.9")}, nil }
	require.NoError(t, s.refresh())
	require.NotEqual(t, generation, s.Generation(), "what waits is tried again")
	_, settled = s.Resolve(end, at)
	require.False(t, settled, "its own record is on its way")
	own := end
	own.Local = &identity.Process{PID: 7, Name: "python3"}
	s.Resolve(own, at)
	w, settled = s.Resolve(end, at)
	require.Equal(t, "python3-7", w.Name)
	require.True(t, settled)

	// No process here has the address, as the later look has shown.
	end.Address = netip.MustParseAddrPort("172.17.0.10:80")
	w, settled = s.Resolve(end, at)
	require.Equal(t, "172.17.0.10", w.Name)
	require.True(t, settled)
	end.Address = netip.MustParseAddrPort("192.0.2.1:80")
	_, settled = s.Resolve(end, time.Now().Add(time.Hour))
	require.True(t, settled, "no container is there")
}
