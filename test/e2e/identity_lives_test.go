// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// named is what the access log made of the connections of tenants.
type named struct {
	right, nobody, wrong int64 // bytes
	example              string
}

// judge compares the name in each line of the log with whose the connection was.
func (w *turns) judge(t require.TestingT, s *stack) (sum named, lines int) {
	all, err := s.loki.lines(`{service_name="kmesh"} | event="closed"`)
	require.NoError(t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range all {
		whose, known := w.truth[line.labels["src_addr"]+" "+line.labels["dst_addr"]]
		if !known {
			continue
		}
		lines++
		name := line.labels["src_workload"]
		if strings.HasPrefix(line.labels["src_addr"], callerAddress+":") {
			name = line.labels["dst_workload"]
		}
		bytes := int64(0)
		for _, field := range []string{"sent_bytes", "received_bytes"} {
			n, err := strconv.ParseInt(line.labels[field], 10, 64)
			require.NoError(t, err)
			bytes += n
		}
		switch name {
		case whose:
			sum.right += bytes
		case "-":
			sum.nobody += bytes
		default:
			sum.wrong += bytes
			sum.example = fmt.Sprintf("%s instead of %s: %s", name, whose, line.body)
		}
	}
	return sum, lines
}

// noneWrong waits until the log has both ends of every connection but those that are out of scope, and fails if any has another's name.
func (w *turns) noneWrong(s *stack, outOfScope float64) named {
	w.t.Helper()
	var sum named
	eventually(w.t, func(c *assert.CollectT) {
		var lines int
		sum, lines = w.judge(c, s)
		w.mu.Lock()
		all := 2 * len(w.truth)
		w.mu.Unlock()
		require.GreaterOrEqual(c, float64(lines)+s.collector.own(c, "otelcol_kmesh_records_out_of_scope")-outOfScope, float64(all))
	})
	w.t.Logf("%d connections of %d pods: %d bytes by the right name, %d by none, %d by a wrong one", len(w.truth), len(w.tenants), sum.right, sum.nobody, sum.wrong)
	require.Zero(w.t, sum.wrong, "bytes by a wrong name, e.g. %s", sum.example)
	return sum
}

// run gives each of so many addresses to so many pods in turn.
func (w *turns) run(prefix string, addresses, turns int) {
	var running sync.WaitGroup
	for i := range addresses {
		running.Go(func() {
			for turn := range turns {
				w.turn(&tenant{name: fmt.Sprintf("%s-%02d-%02d", prefix, i+1, turn+1), address: fmt.Sprintf("10.244.9.%d", i+1)})
			}
		})
	}
	running.Wait()
	require.False(w.t, w.t.Failed())
}

// newTurns makes the hosts, and the caller's pod.
func newTurns(t *testing.T, vacant time.Duration) *turns {
	t.Helper()
	network := testhost.NewNetwork(t)
	var cidrs []string
	for i := range turnAddresses {
		cidrs = append(cidrs, fmt.Sprintf("10.244.9.%d/24", i+1))
	}
	w := &turns{
		t: t, cluster: newCluster(t), at: make(map[string]*tenant), truth: make(map[string]string), vacant: vacant,
		pods: network.Host("pods", cidrs...), caller: network.Host("caller", callerAddress+"/24"),
	}
	w.cluster.startAPIServer(t)
	w.cluster.apply(t, "namespace.yaml")
	w.cluster.apply(t, "rbac.yaml")
	w.cluster.create(t, barePod("caller", callerAddress, time.Now()))
	w.serveCaller()
	return w
}

// TestKubernetesSameSecond gives addresses on within the second: a kubelet reports whole seconds.
func TestKubernetesSameSecond(t *testing.T) {
	w := newTurns(t, 100*time.Millisecond)
	kubeconfig, token := w.cluster.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, w.cluster.token(t, agentNamespace, agentAccount), 0o600))
	s := startStack(t, "E2E_SOURCE=kubernetes", "KUBECONFIG="+kubeconfig)
	s.collector.inSync(t, true)
	w.run("second", 8, 12)
	sum := w.noneWrong(s, 0)
	require.Greater(t, sum.right, 9*sum.nobody, "nine tenths have a name")
}

// TestKubernetesAway has the API server out of reach for longer than records wait, while addresses are given on.
func TestKubernetesAway(t *testing.T) {
	w := newTurns(t, 500*time.Millisecond)
	p := startProxy(t, w.cluster.url)
	kubeconfig, token := w.cluster.kubeconfigFor(t, "agent", p.url)
	require.NoError(t, os.WriteFile(token, w.cluster.token(t, agentNamespace, agentAccount), 0o600))
	s := startStack(t, "E2E_SOURCE=kubernetes", "E2E_RETAIN=1s", "KUBECONFIG="+kubeconfig)
	s.collector.inSync(t, true)
	w.run("before", 4, 2)
	p.setCut(true)
	s.collector.inSync(t, false)
	<-time.After(7 * time.Second) // longer than settle and retain
	w.run("away", 4, 8)
	p.setCut(false)
	s.collector.inSync(t, true)
	w.run("after", 4, 2)
	require.NotZero(t, w.noneWrong(s, 0).right)
}

// TestIstioAway is the same with an istiod that is away.
func TestIstioAway(t *testing.T) {
	w := newTurns(t, time.Second)
	d := newIstiod(t, w.cluster)
	d.start(t)
	s := startStack(t, "E2E_SOURCE=istio", "E2E_ISTIOD="+d.plain)
	s.collector.inSync(t, true)
	w.run("before", 4, 2)
	d.kill()
	s.collector.inSync(t, false)
	w.run("away", 4, 6)
	d.launch()
	s.collector.inSync(t, true)
	<-time.After(3 * time.Second)
	w.run("after", 4, 2)
	require.NotZero(t, w.noneWrong(s, 0).right)
}

// TestKubernetesShortLives has pods that are over before their address is reported, or that never have it in their status.
func TestKubernetesShortLives(t *testing.T) {
	network := testhost.NewNetwork(t)
	const jobAddress, ghostAddress, peerAddress = "10.244.8.40", "10.244.8.41", "10.244.8.42"
	job, ghost := network.Host("job", jobAddress+"/24"), network.Host("ghost", ghostAddress+"/24")
	peer := network.Host("peer", peerAddress+"/24")
	mount, err := probe.CgroupRoot("")
	require.NoError(t, err)
	cgroups := testhost.NewCgroups(t, mount)
	c := newCluster(t)
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	kubeconfig, token := c.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	c.create(t, barePod("peer", peerAddress, time.Now()))
	s := startStack(t, "E2E_SOURCE=kubernetes", "KUBECONFIG="+kubeconfig)
	s.collector.inSync(t, true)
	var server, client count
	serve(t, peer, peerAddress+":80", mixedAnswer, &server)

	// The first status that shows an address says that it is over.
	done := barePod("job", jobAddress, time.Now())
	done.Status = corev1.PodStatus{}
	c.create(t, done)
	began := time.Now()
	for i := range 50 {
		size := mixedSize(uint64(i))
		conn, err := dial(job, peerAddress+":80")
		require.NoError(t, err)
		require.NoError(t, request(conn, size, mixedAnswer(size), &client))
		_ = conn.Close()
	}
	pods := c.client.CoreV1().Pods("default")
	made, err := pods.Get(context.Background(), "job", metav1.GetOptions{})
	require.NoError(t, err)
	made.Status.Phase = corev1.PodSucceeded
	made.Status.PodIP, made.Status.PodIPs = jobAddress, []corev1.PodIP{{IP: jobAddress}}
	made.Status.StartTime = &metav1.Time{Time: began.Add(-time.Second)}
	made.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		StartedAt: metav1.Time{Time: began}, FinishedAt: metav1.Time{Time: time.Now()},
	}}}}
	_, err = pods.UpdateStatus(context.Background(), made, metav1.UpdateOptions{})
	require.NoError(t, err)

	// It is deleted before it has an address in its status: only the cgroup of its process shows whose the connection is.
	never := barePod("ghost", ghostAddress, time.Now())
	never.Status = corev1.PodStatus{}
	c.create(t, never)
	made, err = pods.Get(context.Background(), "ghost", metav1.GetOptions{})
	require.NoError(t, err)
	ghost.Dial(cgroups.Make("kubepods/burstable/pod"+string(made.UID)+"/1"), peerAddress+":80")
	c.deletePod(t, "ghost")

	eventually(t, func(a *assert.CollectT) {
		got, err := s.prometheus.sumsBy("source_workload", `destination_workload="peer",source_workload="job"`)
		require.NoError(a, err)
		require.Equal(a, map[string]sums{"job source": of(&client), "job destination": {
			opened: client.connections.Load(), closed: client.connections.Load(), sent: client.received.Load(), received: client.sent.Load(),
		}}, got)
		samples, err := s.prometheus.query(`kmesh_tcp_sent_bytes_total{reporter="source",source_workload="ghost"}`)
		require.NoError(a, err)
		require.Len(a, samples, 1)
		require.InDelta(a, 3, samples[0].value, 0)
	})
	t.Logf("%d connections, %d bytes of a pod that was over when it was first seen with its address", client.connections.Load(), client.sent.Load()+client.received.Load())
}

// TestKubernetesServiceGap deletes a service, and gives its address to another one some seconds later: kube-proxy's rules go
// later than the service, and clients go on for longer.
func TestKubernetesServiceGap(t *testing.T) {
	network := testhost.NewNetwork(t)
	const clusterIP, clientAddress = "10.96.7.7", "10.244.8.51"
	server, client := network.Host("server", "10.244.8.50/24", clusterIP+"/32"), network.Host("client", clientAddress+"/24")
	client.Run("ip", "route", "add", clusterIP+"/32", "dev", "eth0")
	c := newCluster(t)
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	kubeconfig, token := c.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	service := func(name string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
			Spec:       corev1.ServiceSpec{ClusterIP: clusterIP, Ports: []corev1.ServicePort{{Port: 80}}},
		}
	}
	c.create(t, barePod("client", clientAddress, time.Now()), service("former"))
	s := startStack(t, "E2E_SOURCE=kubernetes", "KUBECONFIG="+kubeconfig)
	s.collector.inSync(t, true)
	var answered count
	serve(t, server, clusterIP+":80", func(int64) int64 { return answerSize }, &answered)

	connections := map[string]int{}
	load := func(service string, n int) {
		for range n {
			plainConnection(t, client, clusterIP+":80")
			client.Do(func() {
				_, err := net.DialTimeout("tcp", clusterIP+":81", patience) // refused
				assert.Error(t, err)
			})
		}
		connections[service] += n
	}
	load("former", 20)
	services := c.client.CoreV1().Services("default")
	require.NoError(t, services.Delete(context.Background(), "former", metav1.DeleteOptions{}))
	<-time.After(time.Second)
	load("former", 20)
	c.create(t, service("next"))
	<-time.After(time.Second)
	load("next", 20)
	eventually(t, func(a *assert.CollectT) {
		got := map[string]int{}
		samples, err := s.prometheus.query(`kmesh_tcp_connections_closed_total{reporter="source",source_workload="client"}`)
		require.NoError(a, err)
		for _, sample := range samples {
			got[sample.labels["destination_service_name"]] += int(sample.value)
		}
		require.Equal(a, connections, got)
	})
}

// TestKubernetesRestored has the cluster's etcd restored from a backup: its versions go back, and a watch from before is silent.
func TestKubernetesRestored(t *testing.T) {
	network := testhost.NewNetwork(t)
	sleep, moving := network.Host("sleep", sleepAddress+"/24"), network.Host("moving", movingAddress+"/24")
	var served count
	serve(t, moving, movingAddress+":80", func(int64) int64 { return answerSize }, &served)
	c := newCluster(t)
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	kubeconfig, token := c.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	c.create(t, sleepPod(), barePod("backed-up", movingAddress, time.Now()))

	data, backup := filepath.Join(c.dir, "etcd"), filepath.Join(c.dir, "backup")
	c.apiServer.kill()
	c.etcd.kill()
	require.NoError(t, os.CopyFS(backup, os.DirFS(data)))
	c.etcd.launch()
	c.apiServer.launch()

	s := startStack(t, "E2E_SOURCE=kubernetes", "KUBECONFIG="+kubeconfig)
	s.collector.inSync(t, true)
	for i := range 200 { // the versions go far ahead
		name := fmt.Sprintf("later-%03d", i)
		c.create(t, barePod(name, "10.244.8.99", time.Now()))
		c.deletePod(t, name)
	}
	c.deletePod(t, "backed-up")
	c.create(t, barePod("lost", movingAddress, time.Now()))
	arrivesAt(t, s, sleep, movingAddress+":80", `destination_workload="lost"`)

	c.apiServer.kill()
	c.etcd.kill()
	require.NoError(t, os.RemoveAll(data))
	require.NoError(t, os.CopyFS(data, os.DirFS(backup)))
	c.etcd.launch()
	c.apiServer.launch()
	s.collector.inSync(t, true)
	arrivesAt(t, s, sleep, movingAddress+":80", `destination_workload="backed-up"`)
	require.Contains(t, tail(s.collector.log, 64<<10), "resource versions went back")
	c.deletePod(t, "backed-up")
	c.create(t, barePod("newest", movingAddress, time.Now()))
	arrivesAt(t, s, sleep, movingAddress+":80", `destination_workload="newest"`)
}

// TestKubernetesHangs stops the API server with its connections open. It is noticed within 8 s, and its return is no error of rights.
func TestKubernetesHangs(t *testing.T) {
	c := newCluster(t)
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	kubeconfig, token := c.kubeconfig(t, "agent")
	require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
	t.Setenv("KUBECONFIG", kubeconfig)
	holder := movingPod("first", time.Now())
	c.create(t, holder)
	o := observe(t)
	require.Eventually(t, o.InSync, soon, 10*time.Millisecond)

	require.NoError(t, c.apiServer.cmd.Process.Signal(syscall.SIGSTOP))
	began := time.Now()
	require.Eventually(t, func() bool { return !o.InSync() }, time.Minute, 10*time.Millisecond)
	noticed := time.Since(began)
	t.Logf("noticed after %s", noticed.Round(10*time.Millisecond))
	require.Less(t, noticed, 8*time.Second)
	_, settled := o.who(movingAddress, began)
	require.False(t, settled, "it may have missed what happened since it last answered")
	require.NoError(t, c.apiServer.cmd.Process.Signal(syscall.SIGCONT))
	require.Eventually(t, o.InSync, soon, 10*time.Millisecond)

	c.apiServer.kill()
	c.apiServer.launch()
	require.Eventually(t, o.InSync, soon, 10*time.Millisecond)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, heard := range o.heard {
		require.NotContains(t, heard, "does not allow")
	}
}
