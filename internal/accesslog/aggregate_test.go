// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// summing returns a Writer that adds up closed and opened connections, and the records that it passed on.
func summing(settings Settings) (*Writer, *[]plog.LogRecord) {
	var all []plog.LogRecord
	w := NewWriter(settings, pcommon.NewResource(), pcommon.NewInstrumentationScope(), 10, func(batch plog.Logs, n int) {
		for i := range n {
			all = append(all, records(batch).At(i))
		}
	})
	return w, &all
}

var tenSeconds = Settings{Closed: true, Failed: true, Opened: true, Aggregate: 10 * time.Second}

func TestAnAggregateIsOneRecordOfItsConnections(t *testing.T) {
	settings := tenSeconds
	settings.Opened = false
	w, got := summing(settings)
	for i := range 3 {
		c := sample()
		c.Source = netip.AddrPortFrom(c.Source.Addr(), uint16(40000+i))
		c.Start, c.At = c.Start.Add(time.Duration(i)*time.Second), c.At.Add(time.Duration(i)*time.Second)
		w.Add(named(c), noon)
	}
	w.Flush(noon.Add(9 * time.Second))
	require.Empty(t, *got, "the interval is not over")
	w.Flush(noon.Add(10 * time.Second))
	require.Len(t, *got, 1)
	r := (*got)[0]
	require.Equal(t, []string{
		"src.workload=prometheus-5fb7f6f8d8-h9cts", "src.namespace=istio-system", "dst.service=productpage.echo-1-27855.svc.cluster.local",
		"dst.workload=productpage-v1-8499c849b9-bz9t9", "dst.namespace=echo-1-27855", "direction=INBOUND",
		"sent_bytes=15", "received_bytes=876", "connections=3", "duration_sum=8.201706ms",
	}, strings.Split(r.Body().Str(), ", "))
	require.Equal(t, []string{
		"src.workload=prometheus-5fb7f6f8d8-h9cts", "src.namespace=istio-system", "dst.service=productpage.echo-1-27855.svc.cluster.local",
		"dst.workload=productpage-v1-8499c849b9-bz9t9", "dst.namespace=echo-1-27855", "direction=INBOUND", "sent_bytes=15", "received_bytes=876",
		"event=closed", "start_time=2026-03-01T11:59:59.997266098Z", "retransmissions=3", "packet_loss=6", "close_reason=fin",
		"src.identity=spiffe://cluster.local/ns/istio-system/sa/prometheus", "src.cluster=Kubernetes",
		"connections=3", "duration_sum=8.201706ms",
	}, texts(r.Attributes()))
	require.Equal(t, "kmesh.tcp.flow.closed", r.EventName())
	require.Equal(t, noon.Add(2*time.Second), r.Timestamp().AsTime(), "the last close")
	require.Equal(t, plog.SeverityNumberInfo, r.SeverityNumber())
	require.True(t, r.TraceID().IsEmpty(), "it has several connections")

	w.Flush(noon.Add(time.Minute))
	require.Len(t, *got, 1, "a flow without events has no record")
}

func TestAFailureIsNeverAddedUp(t *testing.T) {
	w, got := summing(tenSeconds)
	for range 2 {
		w.Add(named(failedSample()), noon)
	}
	w.Flush(noon)
	require.Len(t, *got, 2)
	require.Equal(t, texts(records(write(t, failedSample())).At(0).Attributes()), texts((*got)[0].Attributes()))
	require.Equal(t, "kmesh.tcp.connection.failed", (*got)[0].EventName())
}

func TestAnAggregateHasOneReasonAndEvent(t *testing.T) {
	w, got := summing(tenSeconds)
	for _, reason := range []flow.CloseReason{flow.ReasonFIN, flow.ReasonReset, flow.ReasonFIN, flow.ReasonReset, flow.ReasonReset} {
		c := sample()
		c.Reason = reason
		w.Add(named(c), noon)
	}
	w.flushAll()
	has := map[string]int64{}
	for _, r := range *got {
		all := r.Attributes().AsRaw()
		has[fmt.Sprint(all["event"], " ", all["close_reason"], " ", r.SeverityText())] = all["connections"].(int64)
	}
	require.Equal(t, map[string]int64{"opened <nil> INFO": 5, "closed fin INFO": 2, "closed reset WARN": 3}, has)
}

// Whatever comes in whatever order, and however often the table fills: the sums are those of the single records.
func TestTheSumsAreThoseOfTheSingleRecords(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	settings := tenSeconds
	w, added := summing(settings)
	settings.Aggregate = 0
	single, alone := summing(settings)
	now := noon
	const strangers = 3 * maxAggregates / 2
	for i := range 20_000 {
		c := sample()
		if random.IntN(10) == 0 {
			c = failedSample()
		}
		c.ID, c.Opened = uint64(i), random.IntN(2) == 0
		c.Direction = flow.Direction(random.IntN(2))
		c.Reason = flow.CloseReason(random.IntN(5))
		c.Duration = time.Duration(random.Int64N(int64(time.Second)))
		for counter := range c.Total {
			c.Total[counter] = random.Int64N(1 << 40)
		}
		if random.IntN(2) == 0 {
			n := random.IntN(strangers)
			c.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 443)
		}
		f := named(c)
		w.Add(f, now)
		single.Add(named(c), now)
		now = now.Add(time.Duration(random.IntN(3)) * time.Millisecond)
		if random.IntN(100) == 0 {
			w.Flush(now)
		}
	}
	w.flushAll()
	single.flushAll()

	type key struct{ source, destination, service, direction, event, reason string }
	sums := func(all []plog.LogRecord) map[key]map[string]int64 {
		by := map[key]map[string]int64{}
		for _, r := range all {
			a := r.Attributes().AsRaw()
			text := func(name string) string { s, _ := a[name].(string); return s }
			k := key{text("src.workload"), text("dst.workload"), text("dst.service"), text("direction"), text("event"), text("close_reason")}
			if by[k] == nil {
				by[k] = map[string]int64{}
			}
			for _, name := range []string{"sent_bytes", "received_bytes", "retransmissions", "packet_loss"} {
				by[k][name] += a[name].(int64)
			}
			n, isSum := a["connections"].(int64)
			duration := text("duration")
			if isSum {
				duration = text("duration_sum")
			} else {
				n = 1
			}
			by[k]["connections"] += n
			d, err := time.ParseDuration(duration)
			require.NoError(t, err)
			if k.event == "closed" {
				by[k]["duration"] += int64(d)
			}
		}
		return by
	}
	require.Equal(t, sums(*alone), sums(*added))
	require.Less(t, len(*added), len(*alone))
	require.Zero(t, len(w.sums.held)+len(w.sums.index))
}

// A table that fills is written before its interval is over.
func TestTheFlowsOfAnIntervalAreBounded(t *testing.T) {
	w, got := summing(Settings{Closed: true, Aggregate: time.Hour})
	for i := range maxAggregates {
		c := sample()
		c.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 443)
		w.Add(named(c), noon)
		require.LessOrEqual(t, len(w.sums.held), maxAggregates-1)
	}
	w.flush()
	require.Len(t, *got, maxAggregates)
}

// A workload that was updated is another object with the same names.
func TestAnUpdatedWorkloadIsTheSameFlow(t *testing.T) {
	w, got := summing(Settings{Closed: true, Aggregate: time.Hour})
	for range 2 {
		f := named(sample())
		again := *f.Source
		f.Source = &again
		f.Service = &identity.Service{Host: f.Service.Host, Name: f.Service.Name, Namespace: f.Service.Namespace}
		w.Add(f, noon)
	}
	w.flushAll()
	require.Len(t, *got, 1)
}

// The bytes of a connection fall with the connections that a flow has in an interval; at 0, each has a record of its own.
func BenchmarkAggregate(b *testing.B) {
	for _, each := range []int{0, 1, 10, 100, 1000} {
		b.Run(fmt.Sprint(each), func(b *testing.B) {
			settings := Settings{Closed: true}
			if each > 0 {
				settings.Aggregate = time.Hour
			}
			size := 0
			w := NewWriter(settings, pcommon.NewResource(), pcommon.NewInstrumentationScope(), 1000, func(batch plog.Logs, _ int) {
				size += (&plog.ProtoMarshaler{}).LogsSize(batch)
			})
			f := named(sample())
			f.Connection.Opened = false
			connections := 0
			b.ReportAllocs()
			for b.Loop() {
				w.Add(f, noon)
				if connections++; each > 0 && connections%each == 0 {
					w.flushAll()
				}
			}
			w.flushAll()
			b.ReportMetric(float64(size)/float64(connections), "OTLP-B/connection")
		})
	}
}
