// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// traffic are connections between pods, to services and to addresses that nobody has, some of them failed.
func traffic(random *rand.Rand, n int) (*world, []*flow.Connection) {
	w := newWorld()
	w.Silent = true
	for i := range 12 {
		pod := *sleepPod
		pod.Name = fmt.Sprint("pod-", i)
		names := sleepPod.Names.Value()
		names.Workload, names.CanonicalRevision = fmt.Sprint("workload-", i/3), fmt.Sprint("v", i%3)
		names.Namespace = fmt.Sprint("ns-", i/6)
		pod.Names = unique.Make(names)
		if i%4 != 0 {
			pod.Site = identity.NewSite(fmt.Sprint("region-", i%2), fmt.Sprint("zone-", i%4))
		}
		w.Workloads[address(i)] = &pod
	}
	var all []*flow.Connection
	for id := range n {
		c := closedConnection()
		c.ID = uint64(id + 1)
		c.Direction = flow.Direction(random.IntN(2))
		c.Source = outside(random.IntN(15))
		c.Destination = outside(random.IntN(15))
		if random.IntN(3) == 0 {
			c.Destination = httpbinAddr
		}
		if random.IntN(5) == 0 {
			c.Event, c.Opened = flow.EventFailed, false
			c.ErrorType = []string{flow.ErrorTimedOut, flow.ErrorConnectionRefused}[random.IntN(2)]
			c.Delta = flow.Counters{flow.Failed: 1, flow.Retransmits: random.Int64N(3)}
		} else {
			c.Delta = flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Sent: random.Int64N(1000), flow.Received: random.Int64N(1000)}
		}
		all = append(all, c)
	}
	return w, all
}

// sumsBy adds up series by some of their labels.
func sumsBy(points []Point, by []string) map[string]flow.Counters {
	sums := make(map[string]flow.Counters)
	for _, p := range points {
		var key strings.Builder
		for _, name := range by {
			value, _ := p.Attributes.Get(name)
			fmt.Fprintf(&key, "%s=%s,", name, value.AsString())
		}
		sum := sums[key.String()]
		sum.Add(p.Values)
		sums[key.String()] = sum
	}
	return sums
}

func TestSumsOverAnyChoiceOfLabelsAreThoseOverAll(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 7))
		w, connections := traffic(random, 400)
		settings := everything()
		settings.FailureReasons = seed%2 == 0
		chosen := settings
		settings.Attributes, chosen.Attributes = make(map[Set][]string), make(map[Set][]string)
		for _, set := range []Set{Service, Workload} {
			settings.Attributes[set] = append(strings.Split(optionalLabels.String(), ", "), regular)
			names := strings.Split((labelsOf(set) | optionalLabels).String(), ", ")
			random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			chosen.Attributes[set] = names[:1+random.IntN(len(names))]
			require.NoError(t, CheckAttributes(set, chosen.Attributes[set]))
		}
		all, some := newSubject(settings, w), newSubject(chosen, w)
		for _, c := range connections {
			one, two := *c, *c
			all.Add(&one, noon)
			some.Add(&two, noon)
		}
		of, reduced := all.Snapshot(noon.Add(time.Second)), some.Snapshot(noon.Add(time.Second))
		for _, set := range []struct {
			name      Set
			all, some []Point
		}{{Service, of.Service.Live, reduced.Service.Live}, {Workload, of.Workload.Live, reduced.Workload.Live}} {
			by := chosen.Attributes[set.name]
			want := sumsBy(set.all, by)
			require.Equal(t, want, sumsBy(set.some, by), "seed %d, %s by %s", seed, set.name, by)
			require.Len(t, set.some, len(want), "one series for each choice of values, by %s", by)
			for _, p := range set.some {
				require.Equal(t, len(by), p.Attributes.Len())
			}
		}
	}
}

// A series that is never made costs neither memory nor a place under the limits.
func TestAChoiceMakesFewerSeriesFromTheBeginning(t *testing.T) {
	settings := everything()
	settings.Enabled = enable(Service, Workload)
	settings.CardinalityLimit, settings.UnknownAddresses = 3, 2
	settings.Attributes = map[Set][]string{
		Service:  {"reporter", "source_workload_namespace"},
		Workload: {"source_workload_namespace", "destination_workload_namespace"},
	}
	w, connections := traffic(rand.New(rand.NewPCG(1, 1)), 10)
	a := newSubject(settings, w)
	for i := range 1000 {
		c := *connections[i%10]
		c.Event, c.Direction, c.Source, c.Destination = flow.EventClosed, flow.Outbound, sleepAddr, outside(100+i)
		a.Add(&c, noon)
	}
	snap := a.Snapshot(noon.Add(time.Second))
	require.Equal(t, []string{"reporter=source", "source_workload_namespace=default"}, texts(one(t, snap.Service).Attributes))
	require.Equal(t, []string{"source_workload_namespace=default", "destination_workload_namespace=-"}, texts(one(t, snap.Workload).Attributes))
	stats := a.Stats()
	require.Zero(t, stats.Service.Refused+stats.Workload.Refused+stats.UnknownAddressesRefused)
	require.Zero(t, stats.UnknownAddresses)
}

// Names that many workloads share are not gone with one of them.
func TestAReducedSeriesOutlivesOneOfItsWorkloads(t *testing.T) {
	settings := everything()
	settings.Attributes = map[Set][]string{Service: {"source_workload_namespace"}, Workload: {"source_workload_namespace"}}
	a := newSubject(settings, newWorld())
	a.Add(closedConnection(), noon)
	a.EndGone(func(unique.Handle[identity.Names]) bool { return false })
	a.Delivered(a.Snapshot(noon).ID())
	snap := a.Snapshot(noon.Add(time.Second))
	require.Len(t, snap.Service.Live, 1)
	require.Len(t, snap.Workload.Live, 1)
}

func TestTheConnectionSetKeepsWhatTellsConnectionsApart(t *testing.T) {
	settings := everything()
	settings.Attributes = map[Set][]string{Connection: {"reporter", "start_time", "source_address", "destination_address", "destination_service_name"}}
	require.NoError(t, CheckAttributes(Connection, settings.Attributes[Connection]))
	a := newSubject(settings, newWorld())
	c := closedConnection()
	c.Duration = time.Minute
	a.Add(c, noon)
	require.Equal(t, []string{
		"reporter=destination", "destination_service_name=httpbin", "start_time=2026-03-01T11:59:58.000000000Z",
		"source_address=10.244.0.10:51842", "destination_address=10.244.0.11:80",
	}, texts(one(t, a.Snapshot(noon.Add(time.Second)).Connection).Attributes))
	require.EqualError(t, CheckAttributes(Connection, []string{"reporter", "start_time", "source_address"}),
		"without destination_address two connections can have the same labels: keep them, or use another set")
}

func TestZonesAreLabelsWhereTheyAreChosen(t *testing.T) {
	settings := everything()
	settings.Enabled = enable(Service, Workload, Istio)
	settings.Attributes = map[Set][]string{
		Service: {regular, "source_zone", "destination_zone"}, Istio: {"destination_zone", "source_region"},
	}
	w := newWorld()
	pod := *sleepPod
	pod.Site = identity.NewSite("eu-1", "eu-1a")
	w.Workloads[sleepAddr.Addr()] = &pod
	a := newSubject(settings, w)
	a.Add(closedConnection(), noon)
	snapshot := a.Snapshot(noon.Add(time.Second))

	service := texts(one(t, snapshot.Service).Attributes)
	require.Len(t, service, 25)
	require.Equal(t, []string{"source_zone=eu-1a", "destination_zone=-"}, service[23:])
	require.Len(t, texts(one(t, snapshot.Workload).Attributes), 23, "off by default")
	require.Equal(t, []string{"source_region=eu-1", "destination_zone=unknown"}, texts(one(t, snapshot.Istio).Attributes))
}

func TestAnUnknownLabelIsAnErrorThatListsTheKnownOnes(t *testing.T) {
	err := CheckAttributes(Service, []string{"reporter", "destination_pod_name"})
	require.ErrorContains(t, err, `"destination_pod_name" is not a label of the set: they are reporter, source_workload, `)
	require.ErrorContains(t, err, "connection_security_policy")
	require.NotContains(t, err.Error(), "destination_pod_address")
	require.Error(t, CheckAttributes(Workload, []string{"destination_service"}))
	require.Error(t, CheckAttributes(Workload, []string{""}))
	for _, set := range []Set{Service, Workload, Connection} {
		require.NoError(t, CheckAttributes(set, nil))
		require.NoError(t, CheckAttributes(set, strings.Split(labelsOf(set).String(), ", ")))
	}
}

func TestFailuresByReason(t *testing.T) {
	settings := everything()
	settings.FailureReasons = true
	a := newSubject(settings, newWorld())
	for _, reason := range []string{"connection_refused", "timed_out", "EADDRNOTAVAIL", "timed_out"} {
		c := failedConnection()
		c.ErrorType = reason
		a.Add(c, noon)
	}
	a.Add(&flow.Connection{
		Event: flow.EventRecovered, Source: sleepAddr, Destination: httpbinAddr, Start: noon, At: noon,
		Delta: flow.Counters{flow.Failed: 2},
	}, noon)
	got := make(map[string]int64)
	for _, p := range a.Snapshot(noon.Add(time.Second)).Service.Live {
		require.True(t, p.Failure)
		got[labelOf(t, p, "response_flags")] = p.Values[flow.Failed]
	}
	require.Equal(t, map[string]int64{"CONNECTION_REFUSED": 1, "TIMED_OUT": 2, "EADDRNOTAVAIL": 1, "CONNECT": 2}, got)

	settings.Attributes = map[Set][]string{Service: {"reporter"}}
	b := newSubject(settings, newWorld())
	b.Add(failedConnection(), noon)
	opened := closedConnection()
	opened.Direction = flow.Outbound
	b.Add(opened, noon)
	values := one(t, b.Snapshot(noon.Add(time.Second)).Service).Values
	require.Equal(t, []int64{1, 1, 1}, slices.Collect(func(yield func(int64) bool) {
		_ = yield(values[flow.Opened]) && yield(values[flow.Closed]) && yield(values[flow.Failed])
	}))
}

func TestAReducedFlowAllocatesNothing(t *testing.T) {
	settings := everything()
	settings.FailureReasons = true
	settings.Enabled = enable(Service, Workload)
	settings.Attributes = map[Set][]string{
		Service: {"source_workload", "response_flags", "source_zone"}, Workload: {"destination_pod_name", "destination_region"},
	}
	w := newWorld()
	w.Silent = true
	pod := *sleepPod
	pod.Site = identity.NewSite("eu-1", "eu-1a")
	w.Workloads[sleepAddr.Addr()] = &pod
	a := newSubject(settings, w)
	c := failedConnection()
	a.Add(c, noon)
	require.Zero(t, testing.AllocsPerRun(1000, func() { a.Add(c, noon) }))
}

// Which labels make the series many.
func TestTheLabelsWithMostValuesAreCounted(t *testing.T) {
	settings := everything()
	settings.Enabled = enable(Service)
	settings.Expiration = time.Minute
	w := newWorld()
	a := newSubject(settings, w)
	const servers = 12
	for i := range servers {
		pod := *httpbinPod
		names := httpbinPod.Names.Value()
		names.Workload, names.CanonicalService = fmt.Sprint("server-", i), fmt.Sprint("app-", i/3)
		pod.Names = unique.Make(names)
		w.Workloads[address(i)] = &pod
		c := closedConnection()
		c.ID, c.Destination = uint64(i+1), outside(i)
		a.Add(c, noon)
	}
	labels := a.Stats().Labels
	require.Len(t, labels, mostValued)
	require.Equal(t, []sink.LabelValues{
		{Set: "service", Label: "destination_service", Values: servers}, {Set: "service", Label: "destination_workload", Values: servers},
		{Set: "service", Label: "destination_app", Values: 4}, {Set: "service", Label: "destination_canonical_service", Values: 4},
	}, labels[:4])
	require.Equal(t, 1, labels[4].Values)

	a.Delivered(a.Snapshot(noon.Add(time.Second)).ID())
	for i := range 3 {
		a.Delivered(a.Snapshot(noon.Add(2*time.Minute + time.Duration(i)*time.Second)).ID())
	}
	require.Zero(t, a.Stats().Service.Series)
	require.Empty(t, a.Stats().Labels)
}

func TestTheNamesOfMetServicesAndPodsAreKeptWithinABound(t *testing.T) {
	c := newChoice(Service, nil)
	pods := newChoice(Workload, nil)
	for i := range 2*maxMet + 1 {
		name := fmt.Sprint("name-", i)
		require.Equal(t, serviceNames{name + ".host", name, "ns"}, c.serviceOf(&identity.Service{Host: name + ".host", Name: name, Namespace: "ns"}).Value())
		require.Equal(t, name, pods.podOf(&identity.Workload{Name: name, Names: sleepPod.Names}).Value().name)
	}
	require.LessOrEqual(t, len(c.services), maxMet)
	require.LessOrEqual(t, len(pods.pods), maxMet)
	require.Equal(t, serviceNames{unknown, unknown, unknown}, c.serviceOf(nil).Value())
	require.Equal(t, unknownPod, pods.podOf(nil).Value())
}
