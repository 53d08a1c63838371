// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

// call is a steady flow from one workload to another by a service.
type call struct {
	from, fromSpace, service, space, to string
	sent, received                      int64 // bytes per second, of the client
	failed                              int64 // per second
}

// agents send what the receivers of several nodes would: node i has what the reporters say of its ends.
type agents struct {
	t     testing.TB
	url   string
	start time.Time
	round int64
}

const interval = 2 * time.Second

// run sends every interval until the test ends: the client's end of each call from one agent, the server's from another.
func (a *agents) run(calls []call) {
	a.t.Helper()
	a.start = time.Now().Add(-interval)
	stop := make(chan struct{})
	var running sync.WaitGroup
	a.send(calls)
	running.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				a.send(calls)
			}
		}
	})
	a.t.Cleanup(func() {
		close(stop)
		running.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
}

func (a *agents) send(calls []call) {
	a.round++
	const nodes = 3
	for node := range nodes {
		batch := pmetric.NewMetrics()
		of := batch.ResourceMetrics().AppendEmpty()
		of.Resource().Attributes().PutStr("service.name", "kmesh")
		of.Resource().Attributes().PutStr("service.instance.id", fmt.Sprint("node-", node))
		metrics := of.ScopeMetrics().AppendEmpty().Metrics()
		sent, received, opened, failed := sum(metrics, "kmesh.tcp.sent"), sum(metrics, "kmesh.tcp.received"), sum(metrics, "kmesh.tcp.connections.opened"), sum(metrics, "kmesh.tcp.conntections.failed")
		for i, c := range calls {
			if i%nodes == node {
				a.point(sent, c, "source", "-", c.sent)
				a.point(received, c, "source", "-", c.received)
				a.point(opened, c, "source", "-", 4)
				if c.failed > 0 {
					a.point(failed, c, "source", "CONNECT", c.failed)
				}
			}
			if (i+1)%nodes == node {
				a.point(sent, c, "destination", "-", c.received)
				a.point(received, c, "destination", "-", c.sent)
				a.point(opened, c, "destination", "-", 4)
			}
		}
		a.post(batch)
	}
}

func (a *agents) post(batch pmetric.Metrics) {
	body, err := pmetricotlp.NewExportRequestFromMetrics(batch).MarshalProto()
	if err != nil {
		a.t.Errorf("marshal: %v", err)
		return
	}
	response, err := http.Post(a.url+"/v1/metrics", "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		a.t.Errorf("send: %v", err)
		return
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		a.t.Errorf("the gateway answers %s: %v", response.Status, err)
	}
}

func sum(metrics pmetric.MetricSlice, name string) pmetric.NumberDataPointSlice {
	m := metrics.AppendEmpty()
	m.SetName(name)
	s := m.SetEmptySum()
	s.SetIsMonotonic(true)
	s.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	return s.DataPoints()
}

func (a *agents) point(to pmetric.NumberDataPointSlice, c call, reporter, flags string, perSecond int64) {
	p := to.AppendEmpty()
	for _, label := range [][2]string{
		{"reporter", reporter}, {"source_workload", c.from}, {"source_workload_namespace", c.fromSpace}, {"source_cluster", "Kubernetes"},
		{"destination_service", c.service + "." + c.space + ".svc.cluster.local"}, {"destination_service_namespace", c.space}, {"destination_service_name", c.service},
		{"destination_workload", c.to}, {"destination_workload_namespace", c.space}, {"destination_cluster", "Kubernetes"},
		{"request_protocol", "tcp"}, {"response_flags", flags}, {"connection_security_policy", "unknown"},
	} {
		p.Attributes().PutStr(label[0], label[1])
	}
	p.SetStartTimestamp(pcommon.NewTimestampFromTime(a.start))
	p.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	p.SetIntValue(a.round * perSecond * int64(interval/time.Second))
}

func requireNodes(t testing.TB, b *browser, count int) {
	t.Helper()
	b.eventually(fmt.Sprintf("document.querySelector('#state').dataset.state === 'live' && kmeshMap.store.nodes.size === %d", count), fmt.Sprintf("%d nodes", count))
	require.Equal(t, count, evaluate[int](b, "kmeshMap.store.nodes.size"))
}
