// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// life makes one connection end's reports as the kernel would: some while it is open, each with what it added, then
// the close, which takes back a FIN that was counted as a byte; or a failed connect.
func life(random *rand.Rand, id uint64, spoilt, fin bool) []*Connection {
	c := Connection{
		ID: id, Direction: Direction(random.IntN(2)), Start: noon,
		Source:      netip.AddrPortFrom(address(random.IntN(20)), uint16(1024+random.IntN(1000))),
		Destination: netip.AddrPortFrom(address(100+random.IntN(20)), 80),
	}
	if random.IntN(10) == 0 {
		c.Event, c.Delta = EventFailed, Counters{Failed: 1, Retransmits: int64(random.IntN(3))}
		c.Total[Retransmits] = c.Delta[Retransmits]
		return []*Connection{&c}
	}
	var all []*Connection
	older := random.IntN(10) == 0
	var told Counters
	report := func(event Event, fin uint64) {
		c.Event, c.Opened = event, len(all) == 0 && !older
		now := c.Total
		now[Received] += int64(fin)
		if !older {
			now[Opened] = 1
		}
		if event == EventClosed {
			now[Closed] = 1
		}
		c.Delta = now
		c.Delta.Add(negative(told))
		told = now
		record := c
		all = append(all, &record)
	}
	for range random.IntN(4) {
		c.Duration += time.Duration(random.IntN(4)) * time.Second
		c.Total[Sent] += random.Int64N(1 << 33) // a report may pass 4 GiB
		c.Total[Received] += random.Int64N(100)
		c.Total[Retransmits] += random.Int64N(3)
		c.Total[Lost] += random.Int64N(2)
		if fin {
			report(EventOpen, random.Uint64N(2))
		} else {
			report(EventOpen, 0)
		}
	}
	report(EventClosed, 0)
	if spoilt { // its close did not fit into the ring: the totals come with others', without a record
		last := all[len(all)-1]
		last.Event, last.ID = EventRecovered, 0
	}
	return all
}

func negative(c Counters) Counters {
	for i := range c {
		c[i] = -c[i]
	}
	return c
}

func TestServiceSetWorkloadSetAndLogHaveTheSameTotals(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		log := &sink{}
		w := newWorld()
		w.unsettled = map[netip.Addr]bool{}
		for i := range 20 {
			w.workloads[address(i)] = sleepPod
			if i%2 == 0 {
				w.workloads[address(100+i)] = httpbinPod
			} else {
				w.unsettled[address(100+i)] = true
			}
		}
		settings := Settings{
			Scope: ScopeAll, ServiceMetrics: true, WorkloadMetrics: true, ConnectionMetrics: true,
			ConnectionMinDuration: 5 * time.Second, CardinalityLimit: 5 + int(seed)*3,
			Settle: 300 * time.Millisecond, SettleLimit: 1 + int(seed),
		}
		a := New(settings, w, log)
		// A snapshot that falls between a FIN's byte and its taking back holds that byte, until more is received.
		fins := seed%4 == 0
		var want, inLog, inConnections Counters
		var records []*Connection
		for id := range uint64(300) {
			spoilt := seed%2 == 0 && id%7 == 0
			ends := life(random, id+1, spoilt, fins)
			last := ends[len(ends)-1]
			for _, c := range ends {
				want.Add(c.Delta)
			}
			if last.Event != EventRecovered {
				inLog.Add(last.Total)
			}
			if last.Event == EventClosed && last.Duration >= settings.ConnectionMinDuration {
				inConnections.Add(last.Total)
			}
			records = interleave(random, records, ends)
		}

		now := noon
		var ended Counters
		for i, c := range records {
			now = now.Add(time.Millisecond) // less than 1 s in all: who is told of as young stays so
			a.Add(c, now)
			if i%50 == 0 && !fins {
				if i%150 == 0 {
					w.learn(address(101+2*random.IntN(10)), httpbinPod)
				}
				a.Settle(now)
				snap := a.Snapshot(now)
				if random.IntN(2) == 0 {
					a.Delivered(snap.ID)
				}
				ended.Add(endedIn(snap, a))
			}
		}
		a.Drain(now)
		snap := a.Snapshot(now)
		require.Equal(t, want, total(snap.Service.Live), "seed %d", seed)
		require.Equal(t, want, total(snap.Workload.Live), "seed %d", seed)
		require.Equal(t, want, a.Stats().Counted)
		require.Less(t, now.Sub(noon), time.Second)

		var logged Counters
		for _, l := range log.lines {
			if e := l.connection.Event; e == EventClosed || e == EventFailed {
				logged.Add(l.connection.Total)
			}
		}
		require.Equal(t, inLog, logged, "seed %d", seed)
		if seed%2 == 1 { // no record was lost: the log tells all; what older ends sent is the same from their start on
			want[Opened], want[Closed], want[Failed] = 0, 0, 0
			require.Equal(t, want, logged, "seed %d", seed)
		}
		if seed%2 == 1 && a.Stats().Connection.Refused == 0 {
			ended.Add(total(snap.Connection.Live))
			ended.Add(endedIn(snap, a))
			require.Equal(t, inConnections, ended, "seed %d", seed)
		}
	}
}

// endedIn sums the connection series that snap was the first to end.
func endedIn(snap *Snapshot, a *Aggregator) (sum Counters) {
	for _, e := range a.connection.entries {
		if e.ended == snap.ID {
			sum.Add(e.emitted)
		}
	}
	return sum
}

// interleave puts ends, in their order, at random places of records.
func interleave(random *rand.Rand, records, ends []*Connection) []*Connection {
	at := 0
	for _, c := range ends {
		at += random.IntN(len(records) - at + 1)
		records = append(records[:at], append([]*Connection{c}, records[at:]...)...)
		at++
	}
	return records
}
