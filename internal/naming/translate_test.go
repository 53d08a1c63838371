// SPDX-License-Identifier: Apache-2.0

package naming

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// nat is a translator with one entry.
type nat struct {
	from, to netip.AddrPort
	asked    []uint64
	silent   bool // keep no questions
}

func (n *nat) Translate(end uint64, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	if !n.silent {
		n.asked = append(n.asked, end)
	}
	return n.to, n.to.IsValid() && source == sleepAddr && destination == n.from
}

// toService is the end of a client whose socket has the service's address.
func toService() *flow.Connection {
	c := openConnection(7, 1, time.Second)
	c.Destination = serviceAddr
	return c
}

func TestAClientOfAServicesAddressHasServiceAndPod(t *testing.T) {
	out := &sink{}
	New(Settings{}, newWorld(), &nat{from: serviceAddr, to: httpbinAddr}, out).Add(toService(), noon)
	l := out.one(t)
	require.Same(t, httpbinService, l.flow.Service)
	require.Same(t, httpbinPod, l.flow.Destination)
	require.Equal(t, httpbinAddr, l.connection.Destination)
	require.Equal(t, serviceAddr, l.connection.Original)
}

func TestTheRequestedAddressStaysWhatItWas(t *testing.T) {
	out := &sink{}
	c := toService()
	c.Original = strangeAddr // something in the pod rewrote it to the service
	New(Settings{}, newWorld(), &nat{from: serviceAddr, to: httpbinAddr}, out).Add(c, noon)
	l := out.one(t)
	require.Equal(t, httpbinAddr, l.connection.Destination)
	require.Equal(t, strangeAddr, l.connection.Original)
}

func TestWithoutTranslationTheServiceIsAllThatIsKnown(t *testing.T) {
	for name, translator := range map[string]Translator{"no translator": nil, "no entry": &nat{}} {
		t.Run(name, func(t *testing.T) {
			out := &sink{}
			New(Settings{}, newWorld(), translator, out).Add(toService(), noon)
			l := out.one(t)
			require.Same(t, httpbinService, l.flow.Service)
			require.Nil(t, l.flow.Destination)
			require.Equal(t, serviceAddr, l.connection.Destination)
		})
	}
}

func TestOnlyClientsOfServicesAreTranslated(t *testing.T) {
	n := &nat{}
	a := New(Settings{}, newWorld(), n)
	for name, change := range map[string]func(*flow.Connection){
		"a pod's own address":   func(c *flow.Connection) { c.Destination = httpbinAddr },
		"no service's address":  func(c *flow.Connection) { c.Destination = strangeAddr },
		"the end of the server": func(c *flow.Connection) { c.Direction = flow.Inbound },
		"totals of many ends":   func(c *flow.Connection) { c.ID, c.Event = 0, flow.EventRecovered },
		"taken to a local proxy": func(c *flow.Connection) {
			c.Original, c.Destination = serviceAddr, netip.MustParseAddrPort("127.0.0.1:15001")
		},
	} {
		c := toService()
		change(c)
		a.Add(c, noon)
		require.Empty(t, n.asked, name)
	}
	a.Add(toService(), noon)
	require.Equal(t, []uint64{7}, n.asked)
}

func TestARecordThatWaitsForItsPodKeepsItsTranslation(t *testing.T) {
	n, w, out := &nat{from: serviceAddr, to: httpbinAddr}, unsettledWorld(), &sink{}
	a := New(settling(), w, n, out)
	a.Add(toService(), noon)
	require.Equal(t, 1, a.Stats().Waiting)
	n.to = netip.AddrPort{} // the entry is gone meanwhile
	w.Learn(httpbinAddr.Addr(), httpbinPod)
	a.Settle(noon.Add(time.Second))
	require.Equal(t, []uint64{7}, n.asked)
	require.Same(t, httpbinPod, out.one(t).flow.Destination)
}

func TestARecordIsTranslatedWhenItsServiceBecomesKnown(t *testing.T) {
	n, w, out := &nat{from: serviceAddr, to: httpbinAddr}, newWorld(), &sink{}
	w.Unsettled = map[netip.Addr]bool{serviceAddr.Addr(): true}
	service := w.Services[serviceAddr]
	delete(w.Services, serviceAddr)
	a := New(settling(), w, n, out)
	a.Add(toService(), noon)
	require.Equal(t, 1, a.Stats().Waiting)
	require.Empty(t, n.asked)
	w.Services[serviceAddr] = service
	w.Changes++
	a.Settle(noon.Add(time.Second))
	require.Same(t, httpbinPod, out.one(t).flow.Destination)
}
