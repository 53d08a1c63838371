// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func service(host, address string, ports ...Port) *Service {
	s := &Service{Host: host, Name: host, Namespace: "default", Ports: ports}
	if address != "" {
		s.Addresses = []netip.Addr{netip.MustParseAddr(address)}
	}
	return s
}

func TestTheServiceOfADestination(t *testing.T) {
	x := NewIndex(time.Minute)
	for _, s := range []*Service{
		service("httpbin", "10.96.5.5", Port{8000, 80}),
		service("portless", "10.96.5.6"),
		service("b.shared", "10.96.5.7", Port{443, 8443}),
		service("a.shared", "10.96.5.7", Port{443, 8443}),
		service("other.shared", "10.96.5.7", Port{80, 8080}),
		service("z.headless", "", Port{80, 8080}),
		service("y.headless", "", Port{80, 8080}),
		service("admin", "", Port{9000, 9000}),
	} {
		x.UpsertService(s, ever, noon)
	}
	require.Equal(t, Held{Services: 8}, x.Held())
	single := pod("single").behind("httpbin", Port{8000, 80})
	several := pod("several").
		behind("z.headless", Port{80, 8080}).behind("y.headless", Port{80, 8080}).behind("admin", Port{9000, 9000})
	stray := pod("stray").behind("a.unheard", Port{80, 8080}).behind("z.headless", Port{80, 8080})

	for _, c := range []struct {
		name                  string
		original, destination string
		w                     *Workload
		want                  string
	}{
		{"the address that was asked for", "10.96.5.5:8000", "10.244.0.11:80", single, "httpbin"},
		{"which no one rewrote", "", "10.96.5.5:8000", nil, "httpbin"},
		{"mapped", "[::ffff:10.96.5.5]:8000", "10.244.0.11:80", nil, "httpbin"},
		{"with another port", "10.96.5.5:8001", "10.244.0.11:81", several, ""},
		{"with ports that are not known", "10.96.5.6:1", "10.244.0.11:80", nil, "portless"},
		{"shared, and on the same port: the lowest host name", "10.96.5.7:443", "10.244.0.11:80", nil, "a.shared"},
		{"shared: the one on the port", "10.96.5.7:80", "10.244.0.11:80", nil, "other.shared"},
		{"it wins over the workload's service", "10.96.5.7:80", "10.244.0.12:9000", several, "other.shared"},
		{"a target port of the workload", "", "10.244.0.12:9000", several, "admin"},
		{"of two services: the lowest host name", "", "10.244.0.12:8080", several, "y.headless"},
		{"of two services, one of which was never reported", "", "10.244.0.12:8080", stray, "z.headless"},
		{"no target port, several services", "", "10.244.0.12:1", several, ""},
		{"no target port, one service", "", "10.244.0.11:1", single, "httpbin"},
		{"a tunnel's port in place of the one that was meant", "10.244.0.12:9000", "10.244.0.12:15008", several, "admin"},
		{"an address in place of the one that was meant", "192.0.2.1:9000", "10.244.0.12:15008", several, ""},
		{"an address without a holder", "", "192.0.2.1:80", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var original netip.AddrPort
			if c.original != "" {
				original = netip.MustParseAddrPort(c.original)
			}
			for range 20 { // the same flow always gets the same label
				got := ""
				if s := x.Service(original, netip.MustParseAddrPort(c.destination), c.w, noon); s != nil {
					got = s.Host
				}
				require.Equal(t, c.want, got)
			}
		})
	}
}

func TestAServiceHasATenureToo(t *testing.T) {
	x := NewIndex(time.Minute)
	address := netip.MustParseAddrPort("10.96.5.5:80")
	asked := func(at time.Time) string {
		if s := x.Service(netip.AddrPort{}, address, nil, at); s != nil {
			return s.Host
		}
		return ""
	}
	behind := func(at time.Time) string {
		if s := x.Service(netip.AddrPort{}, netip.MustParseAddrPort("10.244.0.11:80"), pod("a").behind("old", Port{80, 80}), at); s != nil {
			return s.Host
		}
		return ""
	}
	x.UpsertService(service("old", "10.96.5.5"), after(0), after(0))
	x.RemoveService(ServiceKey{"default", "old"}, after(50))
	x.UpsertService(service("new", "10.96.5.5"), after(60), after(60))
	require.Equal(t, "old", asked(after(49)))
	require.Equal(t, "old", asked(after(50)), "kube-proxy's rules go later than the service")
	require.Equal(t, "old", asked(after(59.9)))
	require.Equal(t, "new", asked(after(60)))
	require.Equal(t, "old", behind(after(49)))
	require.Empty(t, behind(after(50)))

	x.Expire(after(110))
	require.Empty(t, asked(after(29)))
	require.Empty(t, behind(after(49)))
	require.Equal(t, "new", asked(after(61)))

	x.UpsertService(service("new", "10.96.5.9"), after(120), after(120))
	require.Equal(t, "new", asked(after(119)))
	require.Equal(t, "new", asked(after(120)), "it has another address, and nobody else has this one")
	x.UpsertService(service("third", "10.96.5.5"), after(130), after(130))
	require.Equal(t, "new", asked(after(129)))
	require.Equal(t, "third", asked(after(130)))
}

func TestNobodyTakesLabelsByListingAnAddress(t *testing.T) {
	x := NewIndex(time.Minute)
	thief := service("thief", "10.96.5.66")
	thief.Addresses = append(thief.Addresses, netip.MustParseAddr("10.244.0.11"), netip.MustParseAddr("10.96.5.5"), netip.MustParseAddr("192.0.2.7"))
	thief.External = thief.Addresses[1:]
	victim := service("victim", "10.96.5.5", Port{8000, 80})
	own := pod("victim", "10.244.0.11").behind("victim", Port{8000, 80})
	x.UpsertService(thief, ever, noon)
	x.UpsertService(victim, ever, noon)
	x.Upsert(own, ever, noon)
	x.Upsert(pod("node", "192.0.2.7").onHostNetwork(), ever, noon)
	for _, c := range []struct {
		name, original, destination string
		w                           *Workload
		want                        string
	}{
		{"a pod's address", "10.244.0.11:80", "10.244.0.11:80", own, "victim"},
		{"a pod's address, from which the packets were sent elsewhere", "10.244.0.11:80", "10.244.0.66:80", pod("x", "10.244.0.66"), "thief"},
		{"a service's own address", "10.96.5.5:8000", "10.244.0.11:80", own, "victim"},
		{"a service's own address, at a port that is not its", "10.96.5.5:1", "10.96.5.5:1", nil, ""},
		{"an address that nobody else has for itself", "192.0.2.7:80", "10.244.0.66:80", nil, "thief"},
	} {
		got := ""
		if s := x.Service(netip.MustParseAddrPort(c.original), netip.MustParseAddrPort(c.destination), c.w, noon); s != nil {
			got = s.Host
		}
		require.Equal(t, c.want, got, c.name)
	}
	require.True(t, x.IsService(netip.MustParseAddr("10.96.5.5")))
	require.False(t, x.IsService(netip.MustParseAddr("192.0.2.7")))
}
