// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

func TestTheOutsideHasItsNamesAndItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, logs := new(consumertest.MetricsSink), new(consumertest.LogsSink)
		s := newSubject(t, func(s *configured) {
			networks, err := NewNetworks([]NetworkConfig{
				{Name: "corp", CIDRs: []string{"10.0.0.0/8"}}, {Name: "docs", CIDRs: []string{"192.0.2.0/24"}},
			})
			require.NoError(t, err)
			s.series.Enabled = metricsOf(series.Service, series.Workload)
			s.Identity.Networks, s.series.UnknownAddresses = networks, 1
		}, metrics, logs)
		s.Start()
		var all []*probe.Record
		for i, destination := range []string{
			"10.244.0.11:80", "10.1.2.3:80", "192.0.2.7:443", "192.0.2.8:443", "203.0.113.1:443", "203.0.113.2:443", "203.0.113.3:443",
		} {
			r := closed(uint64(i + 1))
			r.Destination = endpoint(destination)
			all = append(all, r)
		}
		between := closed(99) // two networks
		between.Source, between.Destination = endpoint("192.0.2.7:9"), endpoint("10.1.2.3:80")
		s.kernel.give(append(all, between)...)
		after(15*time.Second + readInterval)

		closes := func(metric, label string) map[string]int64 {
			counted := map[string]int64{}
			eachPoint(newest(t, metrics), func(name string, p pmetric.NumberDataPoint) {
				if name == metric {
					workload, _ := p.Attributes().Get("destination_workload")
					value, _ := p.Attributes().Get(label)
					counted[workload.Str()+" "+value.Str()] += p.IntValue()
				}
			})
			return counted
		}
		assert.Equal(t, map[string]int64{
			"httpbin httpbin.default.svc.cluster.local": 1, "corp corp": 1, "docs docs": 2, "- 203.0.113.1": 1, "- other": 2,
		}, closes("kmesh.tcp.connections.closed", "destination_service"))
		assert.Equal(t, map[string]int64{
			"httpbin 10.244.0.11": 1, "corp -": 1, "docs -": 2, "- 203.0.113.1": 1, "- other": 2,
		}, closes("kmesh.tcp.workload.connections.closed", "destination_pod_address"))

		var lines []string
		for _, record := range records(logs) {
			line := ""
			for _, key := range []string{"dst.addr", "dst.service", "dst.workload"} {
				value, _ := record.Attributes().Get(key)
				line += value.Str() + " "
			}
			lines = append(lines, line)
		}
		assert.ElementsMatch(t, []string{
			"10.244.0.11:80 httpbin.default.svc.cluster.local httpbin-1 ",
			"10.1.2.3:80 10.1.2.3 corp ", "192.0.2.7:443 192.0.2.7 docs ", "192.0.2.8:443 192.0.2.8 docs ",
			"203.0.113.1:443 203.0.113.1 - ", "203.0.113.2:443 203.0.113.2 - ", "203.0.113.3:443 203.0.113.3 - ",
		}, lines, "the access log keeps the addresses")

		observed := s.Observation()
		assert.Equal(t, 1, observed.Series.UnknownAddresses)
		assert.Equal(t, uint64(2), observed.Series.UnknownAddressesRefused)
		assert.Equal(t, uint64(1), observed.Naming.OutOfScopeRecords)
		require.NoError(t, s.Stop(t.Context()))
	})
}
