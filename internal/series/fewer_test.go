// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unique"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// interval is what an agent does in one: it counts each connection, and writes all series.
type interval struct {
	points int
	took   time.Duration
	heap   float64
}

// BenchmarkFewerLabels compares a choice of labels with all of them: 400 workloads of 20 namespaces call 50 services each.
func BenchmarkFewerLabels(b *testing.B) {
	w, connections := meshOf(20, 20, 50)
	for _, choice := range []struct {
		name   string
		labels []string
	}{
		{"workloads", []string{"reporter", "source_workload", "source_workload_namespace", "destination_service", "response_flags"}},
		{"namespaces", []string{"reporter", "source_workload_namespace", "destination_workload_namespace", "response_flags"}},
	} {
		b.Run(choice.name, func(b *testing.B) {
			var all, some interval
			for b.Loop() {
				all.add(measure(b, w, connections, nil))
				some.add(measure(b, w, connections, choice.labels))
			}
			b.ReportMetric(float64(some.points)/float64(all.points), "points/all")
			b.ReportMetric(some.heap/all.heap, "memory/all")
			b.ReportMetric(float64(some.took)/float64(all.took), "CPU/all")
		})
	}
}

func (i *interval) add(o interval) {
	i.points, i.took, i.heap = i.points+o.points, i.took+o.took, i.heap+o.heap
}

func measure(b *testing.B, w *world, connections []*flow.Connection, labels []string) (m interval) {
	b.Helper()
	settings := Settings{Enabled: enable(Service), CardinalityLimit: 1 << 20, Attributes: map[Set][]string{Service: labels}}
	before := heap()
	a := newSubject(settings, w)
	for _, c := range connections {
		a.Add(c, noon)
	}
	a.Snapshot(noon)
	m.heap = heap() - before

	begin := time.Now()
	for _, c := range connections {
		a.Add(c, noon.Add(time.Second))
	}
	for part := range a.Snapshot(noon.Add(2 * time.Second)).parts(seriesPerBatch) {
		_, n := part.write()
		m.points += n
	}
	m.took = time.Since(begin)
	require.Positive(b, m.points)
	return m
}

func heap() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// meshOf has a connection from each workload to so many services, which are workloads of the next namespaces.
func meshOf(namespaces, workloads, services int) (*world, []*flow.Connection) {
	w := newWorld()
	w.Silent = true
	n := namespaces * workloads
	for i := range n {
		pod := *sleepPod
		names := sleepPod.Names.Value()
		names.Namespace = fmt.Sprint("namespace-", i/workloads)
		names.Workload, names.CanonicalService = fmt.Sprint("workload-", i), fmt.Sprint("app-", i)
		pod.Name, pod.Names = names.Workload+"-0", unique.Make(names)
		w.Workloads[address(i)] = &pod
	}
	var all []*flow.Connection
	for i := range n {
		for j := range services {
			c := closedConnection()
			c.ID, c.Direction = uint64(len(all)+1), flow.Outbound
			c.Source = netip.AddrPortFrom(address(i), 40_000)
			c.Destination = outside((i + 1 + j*7) % n)
			all = append(all, c)
		}
	}
	return w, all
}
