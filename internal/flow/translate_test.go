// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nat is a translator with one entry.
type nat struct {
	from, to netip.AddrPort
	asked    []uint64
}

func (n *nat) Translate(end uint64, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	n.asked = append(n.asked, end)
	return n.to, n.to.IsValid() && source == sleepAddr && destination == n.from
}

// toService is the end of a client whose socket has the service's address.
func toService() *Connection {
	c := openConnection(7, 1, time.Second)
	c.Destination = serviceAddr
	return c
}

func TestAClientOfAServicesAddressTellsServiceAndPod(t *testing.T) {
	settings, log := everything(), &sink{}
	a := New(settings, newWorld(), log)
	a.TranslateBy(&nat{from: serviceAddr, to: httpbinAddr})
	a.Add(toService(), noon)
	snap := a.Snapshot(noon)
	service := one(t, snap.Service)
	require.Equal(t, "httpbin.default.svc.cluster.local", label(t, service, "destination_service"))
	require.Equal(t, "httpbin", label(t, service, "destination_workload"))
	workload := one(t, snap.Workload)
	require.Equal(t, "10.244.0.11", label(t, workload, "destination_pod_address"))
	require.Equal(t, httpbinPod.Name, label(t, workload, "destination_pod_name"))
	require.Equal(t, httpbinAddr, log.lines[0].connection.Destination)
	require.Equal(t, serviceAddr, log.lines[0].connection.Original)
}

func TestWhatTheApplicationAskedForStaysSo(t *testing.T) {
	settings, log := everything(), &sink{}
	a := New(settings, newWorld(), log)
	a.TranslateBy(&nat{from: serviceAddr, to: httpbinAddr})
	c := toService()
	c.Original = strangeAddr // something in the pod rewrote it to the service
	a.Add(c, noon)
	require.Equal(t, httpbinAddr, log.lines[0].connection.Destination)
	require.Equal(t, strangeAddr, log.lines[0].connection.Original)
}

func TestWithoutTranslationTheServiceIsAllThatIsKnown(t *testing.T) {
	for name, translator := range map[string]Translator{"nobody to ask": nil, "no entry": &nat{}} {
		t.Run(name, func(t *testing.T) {
			settings := everything()
			a := New(settings, newWorld(), nil)
			a.TranslateBy(translator)
			a.Add(toService(), noon)
			snap := a.Snapshot(noon)
			service := one(t, snap.Service)
			require.Equal(t, "httpbin.default.svc.cluster.local", label(t, service, "destination_service"))
			require.Equal(t, "-", label(t, service, "destination_workload"))
			require.Equal(t, serviceAddr.Addr().String(), label(t, one(t, snap.Workload), "destination_pod_address"))
		})
	}
}

func TestOnlyClientsOfServicesAreAskedAbout(t *testing.T) {
	n := &nat{}
	settings := everything()
	a := New(settings, newWorld(), nil)
	a.TranslateBy(n)
	for name, change := range map[string]func(*Connection){
		"a pod's own address":   func(c *Connection) { c.Destination = httpbinAddr },
		"no service's address":  func(c *Connection) { c.Destination = strangeAddr },
		"the end of the server": func(c *Connection) { c.Direction = Inbound },
		"totals of many ends":   func(c *Connection) { c.ID, c.Event = 0, EventRecovered },
		"taken to a local proxy": func(c *Connection) {
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
	n := &nat{from: serviceAddr, to: httpbinAddr}
	w, settings := unsettledWorld(), settling()
	a := New(settings, w, nil)
	a.TranslateBy(n)
	a.Add(toService(), noon)
	require.Equal(t, 1, a.Stats().Waiting)
	n.to = netip.AddrPort{} // the entry is gone meanwhile
	w.learn(httpbinAddr.Addr(), httpbinPod)
	a.Settle(noon.Add(time.Second))
	require.Equal(t, []uint64{7}, n.asked)
	require.Equal(t, "httpbin", label(t, one(t, a.Snapshot(noon.Add(time.Second)).Service), "destination_workload"))
}

func TestARecordIsTranslatedWhenItsServiceBecomesKnown(t *testing.T) {
	n := &nat{from: serviceAddr, to: httpbinAddr}
	w, settings := newWorld(), settling()
	w.unsettled = map[netip.Addr]bool{serviceAddr.Addr(): true}
	service := w.services[serviceAddr]
	delete(w.services, serviceAddr)
	a := New(settings, w, nil)
	a.TranslateBy(n)
	a.Add(toService(), noon)
	require.Equal(t, 1, a.Stats().Waiting)
	require.Empty(t, n.asked)
	w.services[serviceAddr] = service
	w.generation++
	a.Settle(noon.Add(time.Second))
	require.Equal(t, "httpbin", label(t, one(t, a.Snapshot(noon.Add(time.Second)).Service), "destination_workload"))
}
