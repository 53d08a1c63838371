// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"testing"
	"time"
	"unique"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// process makes an address one of a process of that name.
func process(w *world, at int, name string) *flow.Connection {
	w.Workloads[address(at)] = &identity.Workload{Name: name, Names: identity.Names{Workload: name, Namespace: "host"}.Handle()}
	c := to(httpbinAddr)
	c.ID, c.Source = uint64(at+1), outside(at)
	return c
}

func TestNamesThatComeOnceMakeRoomForOthers(t *testing.T) {
	settings := everything()
	settings.Enabled = enable(Service, Workload)
	settings.CardinalityLimit = 2000
	w := newWorld()
	w.Silent = true
	a := newSubject(settings, w)
	at := noon
	var counted, over flow.Counters
	flush := func() *Snapshot {
		at = at.Add(5 * time.Second)
		snap := a.Snapshot(at)
		over.Add(endedIn(snap, a.service.entries))
		a.Delivered(snap.ID())
		return snap
	}
	add := func(c *flow.Connection) {
		counted.Add(c.Delta)
		a.Add(c, at)
	}
	old := process(w, 0, "old")
	for range 2 {
		add(old)
		flush()
	}
	for i := range 5000 { // the flood
		add(process(w, 10+i, fmt.Sprint("flood-", i)))
	}
	require.NotZero(t, a.Stats().Service.Refused)
	flush()
	flush() // marks the flood's as ended
	flush()
	fresh := process(w, 1, "fresh")
	add(fresh)
	add(old)
	snap := flush()
	for _, points := range []Points{snap.Service, snap.Workload} {
		found := map[string]int64{}
		for _, p := range points.Live {
			if name, ok := p.Attributes.Get("source_workload"); ok {
				found[name.Str()] = p.Values[flow.Closed]
			}
		}
		require.Equal(t, map[string]int64{"old": 3, "fresh": 1}, found)
	}
	require.Equal(t, uint64(1998), a.Stats().Service.Evicted)
	over.Add(total(snap.Service.Live))
	require.Equal(t, counted, over, "nothing is lost by it")
}

func TestNoWorkloadTakesAllOfASet(t *testing.T) {
	settings := everything()
	settings.Enabled = enable(Workload)
	settings.CardinalityLimit = 2000
	w := newWorld()
	w.Silent = true
	for i := range 3000 { // pods
		pod := *httpbinPod
		pod.Name = fmt.Sprint("pod-", i)
		w.Workloads[address(i)] = &pod
	}
	a := newSubject(settings, w)
	for i := range 3000 {
		a.Add(to(outside(i)), noon)
	}
	require.Equal(t, 1001, a.Stats().Workload.Series)
	require.Equal(t, uint64(2000), a.Stats().Workload.Refused)
	other := process(w, 5000, "other-process")
	a.Add(other, noon)
	require.Equal(t, 1002, a.Stats().Workload.Series)
}

func TestUnknownDestinationsOfOneWorkloadLeaveRoom(t *testing.T) {
	settings := everything()
	settings.Enabled = enable(Service)
	settings.UnknownAddresses = 1000
	w := newWorld()
	w.Silent = true
	a := newSubject(settings, w)
	connect := func(c *flow.Connection, to int) {
		c.Destination = outside(to)
		a.Add(c, noon)
	}
	flood := process(w, 0, "flood")
	for i := range 3000 {
		connect(flood, 10_000+i)
	}
	require.Equal(t, 500, a.Stats().UnknownAddresses)
	connect(process(w, 1, "honest"), 20_000)
	require.Equal(t, 501, a.Stats().UnknownAddresses)

	// With names that change, too, the places come back: not after series_expiration, but after an interval.
	for i := range 3000 {
		connect(process(w, 100+i, fmt.Sprint("flood-", i)), 30_000+i)
	}
	require.Equal(t, 1000, a.Stats().UnknownAddresses)
	for i := range 3 {
		a.Delivered(a.Snapshot(noon.Add(time.Duration(i+1) * 5 * time.Second)).ID())
	}
	require.Zero(t, a.Stats().UnknownAddresses)
	require.NotZero(t, a.Stats().Service.Evicted)
}

func TestWhatHasAnOpenConnectionIsNotEvicted(t *testing.T) {
	settings := everything()
	settings.Enabled = enable(Service)
	settings.CardinalityLimit = 1000
	w := newWorld()
	a := newSubject(settings, w)
	a.Add(openConnection(7, 1, time.Second), noon)
	for i := range 1100 {
		a.Add(process(w, i, fmt.Sprint("flood-", i)), noon)
	}
	a.Delivered(a.Snapshot(noon.Add(time.Second)).ID())
	snap := a.Snapshot(noon.Add(2 * time.Second))
	require.Len(t, snap.Service.Ended, 998)
	require.Len(t, snap.Service.Live, 2, "the open one's, and the overflow series")
	require.Equal(t, int64(1), snap.Service.Live[0].Values[flow.Opened])
}

func TestSharesAreForgottenWithTheirSeries(t *testing.T) {
	settings := everything()
	a := newSubject(settings, newWorld())
	a.Add(to(strangeAddr), noon)
	a.Add(to(httpbinAddr), noon)
	for i := range 3 {
		a.Delivered(a.Snapshot(noon.Add(time.Duration(i) * time.Hour)).ID())
	}
	require.Empty(t, a.service.owned)
	require.Empty(t, a.workload.owned)
	require.Empty(t, a.connection.owned)
	require.Equal(t, map[unique.Handle[identity.Names]]int{}, a.addresses.owned)
}
