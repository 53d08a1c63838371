// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// town is an index of so many pods, all behind services of ten pods each.
func town(pods int, options ...IndexOption) (*Index, []netip.AddrPort) {
	x := NewIndex(time.Minute, options...)
	ends := make([]netip.AddrPort, pods)
	for i := range pods {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		host := fmt.Sprintf("s%d.default.svc.cluster.local", i/10)
		if i%10 == 0 {
			x.UpsertService(&Service{
				Host: host, Name: "s", Namespace: "default", Ports: []Port{{80, 8080}},
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, byte(i >> 16), byte(i >> 8), byte(i)})},
			}, ever, noon)
		}
		w := pod(fmt.Sprintf("p%d", i), a.String()).behind(host, Port{80, 8080})
		x.Upsert(w, ever, noon)
		ends[i] = netip.AddrPortFrom(a, 8080)
	}
	return x, ends
}

func TestLookupsAllocateNothing(t *testing.T) {
	x, ends := town(1000)
	i := 0
	require.Zero(t, testing.AllocsPerRun(10_000, func() {
		end := ends[i%len(ends)]
		i++
		w, _ := x.Resolve(End{Address: end}, noon)
		if w == nil || x.Service(netip.AddrPort{}, end, w, noon) == nil {
			t.Error("nobody at", end)
		}
	}))
}

func BenchmarkResolve(b *testing.B) {
	for _, pods := range []int{1_000, 10_000, 150_000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) {
			x, ends := town(pods)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if w, _ := x.Resolve(End{Address: ends[i%len(ends)]}, noon); w == nil {
					b.Fatal("nobody")
				}
				i++
			}
		})
	}
}

func BenchmarkService(b *testing.B) {
	x, ends := town(10_000)
	workloads := make([]*Workload, len(ends))
	for i := range ends {
		workloads[i], _ = x.Resolve(End{Address: ends[i]}, noon)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if x.Service(netip.AddrPort{}, ends[i%len(ends)], workloads[i%len(ends)], noon) == nil {
			b.Fatal("none")
		}
		i++
	}
}

func BenchmarkUpsertAndRemove(b *testing.B) {
	x, _ := town(10_000)
	w := pod("another", "10.200.0.1")
	b.ReportAllocs()
	now := noon
	for b.Loop() {
		now = now.Add(time.Second)
		x.Upsert(w, now, now)
		x.Remove(w.UID, now)
		x.Expire(now)
	}
}
