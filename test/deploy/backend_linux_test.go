// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // the exporter compresses
)

// backend is an OTLP endpoint that keeps every point of every series: what a scrape does not show.
type backend struct {
	pmetricotlp.UnimplementedGRPCServer
	address string
	discard bool // points are taken and forgotten

	mu     sync.Mutex
	series map[seriesKey]*lives
}

// seriesKey is what makes a series one: two agents that send the same key would overwrite each other.
type seriesKey struct {
	metric, instance, labels string
}

// lives are a series' values by its start time, which changes when its agent starts anew.
type lives struct {
	labels map[string]any
	value  map[pcommon.Timestamp]int64
}

// newBackend listens on every address of the test's network.
func newBackend(t *testing.T) *backend {
	t.Helper()
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	require.NoError(t, err)
	b := &backend{
		address: fmt.Sprintf("%s:%d", nodeAddress, listener.Addr().(*net.TCPAddr).Port),
		series:  map[seriesKey]*lives{},
	}
	server := grpc.NewServer()
	pmetricotlp.RegisterGRPCServer(server, b)
	plogotlp.RegisterGRPCServer(server, &logSink{})
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return b
}

// logSink takes access logs and forgets them.
type logSink struct {
	plogotlp.UnimplementedGRPCServer
}

func (*logSink) Export(context.Context, plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	return plogotlp.NewExportResponse(), nil
}

func (b *backend) Export(_ context.Context, request pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	if b.discard {
		return pmetricotlp.NewExportResponse(), nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, resource := range request.Metrics().ResourceMetrics().All() {
		instance, _ := resource.Resource().Attributes().Get("service.instance.id")
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				if metric.Type() == pmetric.MetricTypeSum {
					b.add(metric.Name(), instance.Str(), metric.Sum().DataPoints())
				}
			}
		}
	}
	return pmetricotlp.NewExportResponse(), nil
}

func (b *backend) add(metric, instance string, points pmetric.NumberDataPointSlice) {
	for _, point := range points.All() {
		if point.Flags().NoRecordedValue() {
			continue
		}
		labels := point.Attributes().AsRaw()
		key := seriesKey{metric: metric, instance: instance, labels: fmt.Sprint(labels)} // fmt sorts a map's keys
		s := b.series[key]
		if s == nil {
			s = &lives{labels: labels, value: map[pcommon.Timestamp]int64{}}
			b.series[key] = s
		}
		// Requests are retried, and a queue delivers older ones later.
		s.value[point.StartTimestamp()] = max(s.value[point.StartTimestamp()], point.IntValue())
	}
}

// total adds up all lives of the only series of a metric and an instance that has the labels.
func (b *backend) total(a require.TestingT, metric, instance string, labels map[string]string) (value int64, starts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := 0
	for key, s := range b.series {
		if key.metric != metric || key.instance != instance || !has(s.labels, labels) {
			continue
		}
		found++
		starts = len(s.value)
		for _, v := range s.value {
			value += v
		}
	}
	require.Equal(a, 1, found, "series of %s from %s with %v", metric, instance, labels)
	return value, starts
}

// instances returns who sent the kmesh metrics.
func (b *backend) instances() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]bool{}
	for key := range b.series {
		if key.metric == "kmesh.tcp.sent" {
			all[key.instance] = true
		}
	}
	return all
}

func has(labels map[string]any, want map[string]string) bool {
	for key, value := range want {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// exchanged is what the applications exchanged so far: from the client up, and down to it.
type exchanged struct{ up, down int64 }

// ends are the four series of an exchange between the client and the server.
func (e exchanged) ends() []struct {
	metric, reporter string
	value            int64
} {
	return []struct {
		metric, reporter string
		value            int64
	}{
		{"sent", "source", e.up},
		{"received", "source", e.down},
		{"sent", "destination", e.down},
		{"received", "destination", e.up},
	}
}

// requireTotals waits until the backend has exactly these bytes from an instance.
func (b *backend) requireTotals(t *testing.T, instance string, want exchanged) {
	t.Helper()
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		for _, end := range want.ends() {
			total, _ := b.total(a, "kmesh.tcp."+end.metric, instance, map[string]string{
				"source_workload": "client", "destination_workload": "server", "reporter": end.reporter,
			})
			require.Equal(a, end.value, total, "%s: %s of the %s", instance, end.metric, end.reporter)
		}
	}, eventually, tick)
}
