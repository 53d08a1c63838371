// SPDX-License-Identifier: Apache-2.0

package series

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
)

// life makes one connection end's reports as the kernel would: some while it is open, each with what it added, then
// the close, which takes back a FIN that was counted as a byte; or a failed connect.
func life(random *rand.Rand, id uint64, spoilt, fin bool) []*flow.Connection {
	c := flow.Connection{
		ID: id, Direction: flow.Direction(random.IntN(2)), Start: noon,
		Source:      netip.AddrPortFrom(address(random.IntN(20)), uint16(1024+random.IntN(1000))),
		Destination: netip.AddrPortFrom(address(100+random.IntN(20)), 80),
	}
	if random.IntN(10) == 0 {
		c.Event, c.Delta = flow.EventFailed, flow.Counters{flow.Failed: 1, flow.Retransmits: int64(random.IntN(3))}
		c.Total[flow.Retransmits] = c.Delta[flow.Retransmits]
		return []*flow.Connection{&c}
	}
	var all []*flow.Connection
	older := random.IntN(10) == 0
	var reported flow.Counters
	report := func(event flow.Event, fin uint64) {
		c.Event, c.Opened = event, len(all) == 0 && !older
		now := c.Total
		now[flow.Received] += int64(fin)
		if !older {
			now[flow.Opened] = 1
		}
		if event == flow.EventClosed {
			now[flow.Closed] = 1
		}
		c.Delta = now
		c.Delta.Add(negative(reported))
		reported = now
		record := c
		all = append(all, &record)
	}
	for range random.IntN(4) {
		c.Duration += time.Duration(random.IntN(4)) * time.Second
		c.Total[flow.Sent] += random.Int64N(1 << 33) // a report may pass 4 GiB
		c.Total[flow.Received] += random.Int64N(100)
		c.Total[flow.Retransmits] += random.Int64N(3)
		c.Total[flow.Lost] += random.Int64N(2)
		if fin {
			report(flow.EventOpen, random.Uint64N(2))
		} else {
			report(flow.EventOpen, 0)
		}
	}
	report(flow.EventClosed, 0)
	if spoilt { // its close did not fit into the ring: the totals come with others', without a record
		last := all[len(all)-1]
		last.Event, last.ID = flow.EventRecovered, 0
	}
	return all
}

func negative(c flow.Counters) flow.Counters {
	for i := range c {
		c[i] = -c[i]
	}
	return c
}

func TestServiceSetWorkloadSetAndLogHaveTheSameTotals(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		var logged flow.Counters
		log := newLog(&logged)
		w := newWorld()
		w.Unsettled = map[netip.Addr]bool{}
		for i := range 20 {
			w.Workloads[address(i)] = sleepPod
			if i%2 == 0 {
				w.Workloads[address(100+i)] = httpbinPod
			} else {
				w.Unsettled[address(100+i)] = true
			}
		}
		settings := Settings{
			Enabled: enable(Service, Workload, Connection), ConnectionMinDuration: 5 * time.Second,
			CardinalityLimit: 5 + int(seed)*3,
		}
		sets := New(settings, pcommon.NewResource(), pcommon.NewInstrumentationScope())
		a := &subject{sets, naming.New(naming.Settings{
			Scope: naming.ScopeAll, Settle: 300 * time.Millisecond, SettleLimit: 1 + int(seed),
		}, w, nil, sets, log)}
		// A snapshot that falls between a FIN's byte and its taking back holds that byte, until more is received.
		fins := seed%4 == 0
		var want, inLog, inConnections flow.Counters
		var records []*flow.Connection
		for id := range uint64(300) {
			spoilt := seed%2 == 0 && id%7 == 0
			ends := life(random, id+1, spoilt, fins)
			last := ends[len(ends)-1]
			for _, c := range ends {
				want.Add(c.Delta)
			}
			if last.Event != flow.EventRecovered {
				inLog.Add(last.Total)
			}
			if last.Event == flow.EventClosed && last.Duration >= settings.ConnectionMinDuration {
				inConnections.Add(last.Total)
			}
			records = interleave(random, records, ends)
		}

		now := noon
		var ended, ofService, ofWorkload flow.Counters // of series that ended
		for i, c := range records {
			now = now.Add(time.Millisecond) // less than 1 s in all: what is reported as young stays so
			a.Add(c, now)
			if i%50 == 0 && !fins {
				if i%150 == 0 {
					w.Learn(address(101+2*random.IntN(10)), httpbinPod)
				}
				a.namer.Settle(now)
				snap := a.Snapshot(now)
				if random.IntN(2) == 0 {
					a.Delivered(snap.ID())
				}
				ended.Add(endedIn(snap, a.connection.entries))
				ofService.Add(endedIn(snap, a.service.entries))
				ofWorkload.Add(endedIn(snap, a.workload.entries))
			}
		}
		a.namer.Drain(now)
		log.Flush(now)
		snap := a.Snapshot(now)
		ofService.Add(total(snap.Service.Live))
		ofService.Add(endedIn(snap, a.service.entries))
		ofWorkload.Add(total(snap.Workload.Live))
		ofWorkload.Add(endedIn(snap, a.workload.entries))
		require.Equal(t, want, ofService, "seed %d", seed)
		require.Equal(t, want, ofWorkload, "seed %d", seed)
		require.Equal(t, want, a.Stats().Counted)
		require.Less(t, now.Sub(noon), time.Second)

		require.Equal(t, inLog, logged, "seed %d", seed)
		if seed%2 == 1 { // no record was lost: the log has all; what older ends sent is the same from their start on
			want[flow.Opened], want[flow.Closed], want[flow.Failed] = 0, 0, 0
			require.Equal(t, want, logged, "seed %d", seed)
		}
		if seed%2 == 1 && a.Stats().Connection.Refused == 0 {
			ended.Add(total(snap.Connection.Live))
			ended.Add(endedIn(snap, a.connection.entries))
			require.Equal(t, inConnections, ended, "seed %d", seed)
		}
	}
}

// newLog is an access log whose records are added up.
func newLog(sum *flow.Counters) *accesslog.Writer {
	settings := accesslog.Settings{Closed: true, Failed: true}
	return accesslog.NewWriter(settings, pcommon.NewResource(), pcommon.NewInstrumentationScope(), 100, func(batch plog.Logs, _ int) {
		for _, record := range batch.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
			for name, counter := range map[string]flow.Counter{
				"sent_bytes": flow.Sent, "received_bytes": flow.Received,
				"retransmissions": flow.Retransmits, "packet_loss": flow.Lost,
			} {
				value, _ := record.Attributes().Get(name)
				sum[counter] += value.Int()
			}
		}
	})
}

// endedIn sums the series that snap was the first to end.
func endedIn[K comparable](snap *Snapshot, entries []*entry[K]) (sum flow.Counters) {
	for _, e := range entries {
		if e.ended == snap.ID() {
			sum.Add(e.emitted)
		}
	}
	return sum
}

// interleave puts ends, in their order, at random places of records.
func interleave(random *rand.Rand, records, ends []*flow.Connection) []*flow.Connection {
	at := 0
	for _, c := range ends {
		at += random.IntN(len(records) - at + 1)
		records = append(records[:at], append([]*flow.Connection{c}, records[at:]...)...)
		at++
	}
	return records
}
