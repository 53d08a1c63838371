// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// A stream of these rates is what Kmesh's dashboard must show.
const (
	streamUp   = 200_000 // bytes per second to the server
	streamDown = 50_000  // and back
	streamStep = 20 * time.Millisecond
	// irate is over the last two flushes, and the stream over what the scheduler lets it.
	streamError = 0.1
)

// kmeshQueries are those of Kmesh's own dashboard.
type kmeshQueries struct {
	Panels    []struct{ Row, Title, Expr string }
	Variables []struct{ Name, Expr string }
}

// TestKmeshDashboard asks what the panels of Kmesh's service dashboard ask, while a connection carries bytes at a known
// rate.
func TestKmeshDashboard(t *testing.T) {
	content, err := os.ReadFile("../../testdata/kmesh/service-dashboard.yaml")
	require.NoError(t, err)
	var board kmeshQueries
	require.NoError(t, yaml.Unmarshal(content, &board))
	require.Len(t, board.Panels, 10)

	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", "10.244.0.10/24")
	httpbin := network.Host("httpbin", "10.244.0.11/24")
	s := startStack(t)
	stream(t, sleep, httpbin, "10.244.0.11:80")

	const service = "httpbin.default.svc.cluster.local"
	fill := func(expression, reporter string) string {
		return strings.NewReplacer("$qrep", reporter, "$service", service, "$srcwl", "sleep", "$srcns", "default", "$srccluster", "Kubernetes",
			"$dstwl", "httpbin", "$dstns", "default", "$dstcluster", "Kubernetes").Replace(expression)
	}
	// As Kmesh counts: what the reporter's own end received and sent.
	rates := map[string]map[string]float64{
		"source":      {"received": streamDown, "sent": streamUp},
		"destination": {"received": streamUp, "sent": streamDown},
	}
	for _, reporter := range []string{"source", "destination", "source|destination"} {
		for _, p := range board.Panels {
			t.Run(reporter+" "+p.Title, func(t *testing.T) {
				expression := fill(p.Expr, reporter)
				which := "sent"
				if strings.Contains(expression, "received") {
					which = "received"
				}
				want := 0.0
				for by, rate := range rates {
					// Some panels name the reporter themselves.
					asked := reporter
					if strings.Contains(p.Expr, `reporter="destination"`) {
						asked = "destination"
					}
					if strings.Contains(asked, by) {
						want += rate[which]
					}
				}
				eventually(t, func(c *assert.CollectT) {
					samples, err := s.prometheus.query(expression)
					require.NoError(c, err)
					if strings.Contains(p.Expr, `connection_security_policy!=`) {
						require.Empty(c, samples) // this mesh says mutual_tls
						return
					}
					require.Len(c, samples, 1)
					require.InEpsilon(c, want, samples[0].value, streamError, samples[0].String())
				})
			})
		}
	}
	values := map[string]string{
		"service": "destination_service=" + service, "srccluster": "source_cluster=Kubernetes", "srcns": "source_workload_namespace=default",
		"srcwl": "source_workload=sleep", "dstcluster": "destination_cluster=Kubernetes", "dstns": "destination_workload_namespace=default",
		"dstwl": "destination_workload=httpbin",
	}
	require.Len(t, board.Variables, len(values))
	for _, v := range board.Variables {
		t.Run("variable "+v.Name, func(t *testing.T) {
			samples, err := s.prometheus.query(fill(v.Expr, "source|destination"))
			require.NoError(t, err)
			require.Len(t, samples, 1)
			label, value, _ := strings.Cut(values[v.Name], "=")
			require.Equal(t, value, samples[0].labels[label])
		})
	}
}

// stream keeps a connection until the test ends that carries bytes both ways, each step at its time.
func stream(t *testing.T, from, to *testhost.Host, address string) {
	t.Helper()
	listener := listen(t, to, address)
	client, err := dial(from, address)
	require.NoError(t, err)
	server, err := listener.Accept()
	require.NoError(t, err)
	require.NoError(t, client.SetDeadline(time.Time{}))
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, way := range []struct {
		from, to net.Conn
		rate     int
	}{{client, server, streamUp}, {server, client, streamDown}} {
		running.Go(func() { _, _ = io.Copy(io.Discard, way.to) })
		running.Go(func() { pace(way.from, way.rate, stop) })
	}
	t.Cleanup(func() {
		close(stop)
		_, _, _ = client.Close(), server.Close(), listener.Close()
		running.Wait()
	})
}

// pace writes at a rate: at each step what is due.
func pace(to net.Conn, rate int, stop <-chan struct{}) {
	ticker := time.NewTicker(streamStep)
	defer ticker.Stop()
	begin, written := time.Now(), int64(0)
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		due := int64(time.Since(begin).Seconds() * float64(rate))
		n, err := write(to, due-written)
		if err != nil {
			return
		}
		written += n
	}
}
