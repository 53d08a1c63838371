// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// BenchmarkPrograms reports how often the programs run for a connection, both ends, and how long, as
// the kernel counts: with a reading of the clock before and after each run.
func BenchmarkPrograms(b *testing.B) {
	testhost.RequireRoot(b)
	p, err := Open(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	counting, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = counting.Close() }()
	host := testhost.NewNetwork(b).Host("both", "10.244.0.11/24")
	host.Run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0")
	before := p.programs()
	b.ResetTimer()
	host.Do(func() {
		for left := b.N; left > 0 && err == nil; left -= 1000 {
			if _, _, err = churn(min(left, 1000)); err == nil {
				err = p.Read(time.Now(), func(*Record) {})
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	var runs, took float64
	for i, use := range p.programs() {
		runs += float64(use.Runs - before[i].Runs)
		took += float64((use.Time - before[i].Time).Nanoseconds())
		if n := float64(use.Runs - before[i].Runs); n > 0 {
			b.Logf("%s: %.2f runs of %.0f ns", use.Name, n/float64(b.N), float64((use.Time-before[i].Time).Nanoseconds())/n)
		}
	}
	b.ReportMetric(runs/float64(b.N), "runs/op")
	b.ReportMetric(took/float64(b.N), "program-ns/op")
}
