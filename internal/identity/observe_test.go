// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type observed struct{ all []string }

func (o *observed) WorkloadChanged(old, w *Workload) {
	o.all = append(o.all, nameOrNone(old)+" to "+nameOrNone(w))
}

func nameOrNone(w *Workload) string {
	if w == nil {
		return "none"
	}
	return w.Name
}

func (o *observed) ServiceChanged(old, s *Service) {
	change := "service"
	if old == nil {
		change = "new service"
	}
	if s == nil {
		change = "no service"
	}
	o.all = append(o.all, change)
}

func TestAnObserverGetsEveryChange(t *testing.T) {
	x, o := NewIndex(time.Minute), &observed{}
	x.Observe(o)
	now, address := time.Now(), netip.MustParseAddr("10.0.0.1")
	since := now.Add(-time.Hour).Round(0)
	first := &Workload{UID: "a", Name: "first", NodeName: NewNodeName("node-1"), Addresses: []netip.Addr{address}}
	second := &Workload{UID: "a", Name: "second", NodeName: NewNodeName("node-1"), Addresses: []netip.Addr{address}}
	x.Put(first, Span{From: since, Sure: since.Add(time.Second)}, now)
	x.Put(first, Span{From: since}, now) // nothing new
	x.Put(second, Span{From: since}, now)
	require.Len(t, x.Holders(address), 1)
	require.Same(t, second, x.Holders(address)[0].Workload)
	require.WithinDuration(t, since, x.Since(second).From, time.Millisecond)
	require.WithinDuration(t, since.Add(time.Second), x.Since(second).Sure, time.Millisecond)
	require.True(t, x.Vacated(address).IsZero())
	x.Remove("a", now)
	x.Remove("a", now)
	require.Empty(t, x.Holders(address))
	require.WithinDuration(t, now, x.Vacated(address), time.Millisecond)

	s := &Service{Host: "s", Namespace: "n", Addresses: []netip.Addr{address}}
	x.UpsertService(s, now, now)
	require.Equal(t, []*Service{s}, x.ServicesAt(address))
	require.Same(t, s, x.ServiceBy(s.Key()))
	x.RemoveService(s.Key(), now)
	require.Empty(t, x.ServicesAt(address))
	require.Nil(t, x.ServiceBy(s.Key()))
	require.Equal(t, []string{"none to first", "first to second", "second to none", "new service", "no service"}, o.all)
}
