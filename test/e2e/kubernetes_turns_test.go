// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	turnAddresses  = 20 // that change hands at the same time
	turnsOfAddress = 10
	turnLoad       = 300 * time.Millisecond // of short connections, in each turn
	turnPace       = 20 * time.Millisecond  // of a worker's connections
	vacant         = time.Second            // between the deletion of a pod and the next one's first connection

	callerAddress = "10.244.9.200"
	callerTarget  = callerAddress + ":9000"
)

// tenant is a pod that has an address for one turn, with what was counted at both ends of its connections.
type tenant struct {
	name, address string
	in            tally // from the caller
	out           tally // to the caller
}

// turns gives addresses from pod to pod.
type turns struct {
	t            testing.TB
	cluster      *cluster
	pods, caller *testhost.Host

	vacant time.Duration // between the deletion of a pod and the next one's first connection

	mu      sync.Mutex
	at      map[string]*tenant // who has the address: what its connections to the caller are counted by
	truth   map[string]string  // whose a connection is, by its two addresses
	tenants []*tenant
}

// note keeps whose a connection is. The client is the caller, or the pod.
func (w *turns) note(p *tenant, conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.truth != nil {
		w.truth[conn.LocalAddr().String()+" "+conn.RemoteAddr().String()] = p.name
	}
}

// TestKubernetesTurns gives each of twenty addresses to ten pods in turn, 1 s after the one before was deleted. Each pod
// has a load of short connections in both directions, and one that stays open over its deletion. Every byte is counted
// for the pod whose it was.
func TestKubernetesTurns(t *testing.T) {
	network := testhost.NewNetwork(t)
	var cidrs []string
	for i := range turnAddresses {
		cidrs = append(cidrs, fmt.Sprintf("10.244.9.%d/24", i+1))
	}
	w := &turns{
		t: t, cluster: newCluster(t), at: make(map[string]*tenant), vacant: vacant,
		pods: network.Host("pods", cidrs...), caller: network.Host("caller", callerAddress+"/24"),
	}
	kubeconfig, token := w.cluster.kubeconfig(t, "agent")
	w.cluster.startAPIServer(t)
	w.cluster.apply(t, "namespace.yaml")
	w.cluster.apply(t, "rbac.yaml")
	require.NoError(t, os.WriteFile(token, w.cluster.token(t, agentNamespace, agentAccount), 0o600))
	w.cluster.create(t, barePod("caller", callerAddress, time.Now()))
	w.serveCaller()
	s := startStack(t, "E2E_SOURCE=kubernetes", "KUBECONFIG="+kubeconfig)
	s.collector.inSync(t, true)

	began := time.Now()
	var running sync.WaitGroup
	for i := range turnAddresses {
		running.Go(func() {
			for turn := range turnsOfAddress {
				w.turn(&tenant{name: fmt.Sprintf("tenant-%02d-%02d", i+1, turn+1), address: fmt.Sprintf("10.244.9.%d", i+1)})
			}
		})
	}
	running.Wait()
	require.False(t, t.Failed())
	require.Len(t, w.tenants, turnAddresses*turnsOfAddress)
	t.Logf("%d turns in %s", len(w.tenants), time.Since(began).Round(time.Millisecond))

	w.requireOwnBytes(s)
	s.collector.stop()
	w.requireOwnBytes(s)
}

func barePod(name, address string, since time.Time) *corev1.Pod {
	p := ready(podOf(name, "", "", nil, address), since)
	p.Name, p.Labels, p.OwnerReferences = name, nil, nil
	return p
}

// turn is the life of a pod, and the time after it in which its address has no holder.
func (w *turns) turn(p *tenant) {
	w.mu.Lock()
	w.at[p.address] = p
	w.tenants = append(w.tenants, p)
	w.mu.Unlock()

	// The address is there before anybody knows it.
	since := time.Now()
	target := net.JoinHostPort(p.address, "80")
	listener := listen(w.t, w.pods, target)
	var serving, loading sync.WaitGroup
	serving.Go(func() { accept(w.t, &serving, listener, mixedAnswer, func(net.Addr) *count { return &p.in.server }) })
	stop := make(chan struct{})
	loading.Go(func() {
		w.load(w.caller, stop, p, &p.in.client, func() (*net.TCPConn, error) { return connect(target) })
	})
	loading.Go(func() {
		w.load(w.pods, stop, p, &p.out.client, func() (*net.TCPConn, error) { return connectFrom(p.address, callerTarget) })
	})
	w.cluster.create(w.t, barePod(p.name, p.address, since))
	lasting, err := dial(w.caller, target)
	if !assert.NoError(w.t, err) {
		return
	}
	w.note(p, lasting)
	<-time.After(turnLoad)
	close(stop)
	loading.Wait()
	_ = listener.Close()

	w.cluster.deletePod(w.t, p.name)
	next := time.After(w.vacant)
	assert.NoError(w.t, request(lasting, 10_000, mixedAnswer(10_000), &p.in.client), "the connection that was open at the deletion")
	_ = lasting.Close()
	serving.Wait()
	<-next
}

// load makes connections from the host until stop.
func (w *turns) load(host *testhost.Host, stop chan struct{}, p *tenant, c *count, connect func() (*net.TCPConn, error)) {
	host.Do(func() {
		pace := time.NewTicker(turnPace)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			size := mixedSize(uint64(c.connections.Load())) % 10_000
			conn, err := connect()
			if assert.NoError(w.t, err) {
				w.note(p, conn)
				assert.NoError(w.t, request(conn, size, mixedAnswer(size), c))
				_ = conn.Close()
			}
		}
	})
}

// serveCaller answers the pods, and counts by pod.
func (w *turns) serveCaller() {
	listener := listen(w.t, w.caller, callerTarget)
	var serving sync.WaitGroup
	serving.Go(func() {
		accept(w.t, &serving, listener, mixedAnswer, func(from net.Addr) *count {
			w.mu.Lock()
			defer w.mu.Unlock()
			return &w.at[from.(*net.TCPAddr).IP.String()].out.server
		})
	})
	w.t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
}

// requireOwnBytes compares what is counted for each pod with what its applications counted.
func (w *turns) requireOwnBytes(s *stack) {
	w.t.Helper()
	in, out := make(map[string]sums), make(map[string]sums) // by pod and reporter
	var connections, bytes int64
	for _, p := range w.tenants {
		in[p.name+" source"], in[p.name+" destination"] = of(&p.in.client), of(&p.in.server)
		out[p.name+" source"], out[p.name+" destination"] = of(&p.out.client), of(&p.out.server)
		for _, c := range []*count{&p.in.client, &p.out.client} {
			connections += c.connections.Load()
			bytes += c.sent.Load() + c.received.Load()
		}
	}
	eventually(w.t, func(c *assert.CollectT) {
		got, err := s.prometheus.sumsBy("destination_pod_name", `source_workload="caller"`)
		require.NoError(c, err)
		require.Equal(c, in, got, "to the pods")
		got, err = s.prometheus.sumsBy("source_workload", `destination_workload="caller"`)
		require.NoError(c, err)
		require.Equal(c, out, got, "from the pods")
		samples, err := s.loki.sums(`sum by (dst_workload) (sum_over_time({service_name="kmesh"} | direction="INBOUND" | src_workload="caller"` +
			` | event="closed" | unwrap received_bytes [1h]))`)
		require.NoError(c, err)
		logged, err := by("dst_workload", samples)
		require.NoError(c, err)
		require.Len(c, logged, len(w.tenants))
		for _, p := range w.tenants {
			require.Equal(c, p.in.server.received.Load(), logged[p.name], "the access log of %s", p.name)
		}
	})
	w.t.Logf("%d pods at %d addresses: %d connections, %d bytes, each with its own pod", len(w.tenants), turnAddresses, connections, bytes)
}

// sumsBy gives what the workload set says of the connections that the selector takes, by a label and the reporter.
func (p *prometheus) sumsBy(label, selector string) (map[string]sums, error) {
	got := map[string]sums{}
	for metric, field := range fieldsOfSums {
		samples, err := p.query(fmt.Sprintf(`sum by (%s, reporter) (last_over_time(kmesh_tcp_workload_%s{%s}[1h]))`, label, metric, selector))
		if err != nil {
			return nil, err
		}
		for i := range samples {
			samples[i].labels["of"] = samples[i].labels[label] + " " + samples[i].labels["reporter"]
		}
		if err := add(got, "of", samples, field); err != nil {
			return nil, err
		}
	}
	return got, nil
}
