// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	nodeName       = "deploy-node"
	nodeAddress    = "10.244.11.1"
	gatewayAddress = "10.244.11.2"
	clientAddress  = "10.244.11.10"
	serverAddress  = "10.244.11.11"
	healthPort     = 23133
	telemetryPort  = 23888
	gatewayPage    = "http://" + gatewayAddress + ":9464/metrics"
)

// installed is a cluster with the chart installed by Helm, and what the test needs to run its pods.
type installed struct {
	*cluster
	t       *testing.T
	image   image
	network *testhost.Network
	relay   *testhost.Host   // the gateway's pod
	queues  map[string]mount // of the nodes' agents
}

func install(t *testing.T, values string) *installed {
	t.Helper()
	s := &installed{cluster: newCluster(t), image: buildImage(t), network: testhost.NewNetwork(t)}
	s.install(t, values)
	return s
}

// install installs the chart, and joins this machine to the network as the pods' node.
func (s *installed) install(t *testing.T, values string) {
	t.Helper()
	s.t, s.queues = t, map[string]mount{}
	out, err := helm("install", release, chart, "--create-namespace", "--namespace", namespace, "--kubeconfig", s.kubeconfig, "--set", values)
	require.NoError(t, err, out)
	require.Contains(t, out, "STATUS: deployed")
	s.network.Node(nodeAddress + "/24")
}

// configuration writes a ConfigMap's keys into a folder, as the kubelet mounts it.
func (s *installed) configuration(t *testing.T, name string) mount {
	t.Helper()
	config, err := s.client.CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	dir := t.TempDir()
	readable(t, dir)
	for key, content := range config.Data {
		require.NoError(t, os.WriteFile(filepath.Join(dir, key), []byte(content), 0o644))
	}
	return mount{from: dir, to: "/etc/otelcol-kmesh", readOnly: true}
}

// edit replaces text in a mounted configuration.
func edit(t *testing.T, configuration mount, from, to string) {
	t.Helper()
	path := filepath.Join(configuration.from, "config.yaml")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(content), from, to)), 0o644))
}

// readable opens a test's folder, and those above it that the test made, to other users.
func readable(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}

func (s *installed) queue(t *testing.T, owner int) mount {
	t.Helper()
	dir := t.TempDir()
	readable(t, dir)
	require.NoError(t, os.Chown(dir, owner, owner))
	return mount{from: dir, to: "/var/lib/otelcol-kmesh"}
}

// gateway makes the container of the Deployment's pod, in a network namespace with an address.
func (s *installed) gateway(t *testing.T) *container {
	t.Helper()
	deployment, err := s.client.AppsV1().Deployments(namespace).Get(t.Context(), gateway, metav1.GetOptions{})
	require.NoError(t, err)
	if s.relay == nil {
		s.relay = s.network.Host("gateway", gatewayAddress+"/24")
		s.reachAPIServer(s.t, s.relay)
	}
	return s.gatewayOf(t, deployment.Spec.Template.Spec, s.relay)
}

// gatewayOf makes the container of a gateway's pod in a host.
func (s *installed) gatewayOf(t *testing.T, spec corev1.PodSpec, host *testhost.Host) *container {
	t.Helper()
	user := int64(1000650000) // OpenShift takes one of the namespace's range
	if spec.SecurityContext.RunAsUser == nil {
		spec.SecurityContext.RunAsUser = &user
	}
	env, mounts := map[string]string{}, []mount{s.configuration(t, gateway), s.queue(t, int(*spec.SecurityContext.RunAsUser))}
	if *spec.AutomountServiceAccountToken {
		account := s.account(t, spec.ServiceAccountName)
		chown(t, account.from, *spec.SecurityContext.RunAsUser) // the kubelet gives them to fsGroup
		env, mounts = s.apiServer(), append(mounts, account)
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil {
			mounts = append(mounts, s.secretVolume(t, spec, v))
		}
	}
	return newContainer(t, s.image, "gateway", spec, host.Namespace(), env, mounts...)
}

// node is where an agent runs. All nodes of a test share this machine's kernel, so each agent sees every connection.
type node struct {
	name   string
	cgroup string // below which the agent attaches its connect hooks
	second bool   // on another node, an agent would have the ports to itself
}

// thisNode attaches at the root of the cgroups, as on a real node.
func thisNode(t *testing.T) node {
	t.Helper()
	return node{name: nodeName, cgroup: cgroupV2(t)}
}

// otherNode is another one for the lock of the node too, so that its agent is not refused as the second one.
func otherNode(t *testing.T) node {
	t.Helper()
	cgroup := filepath.Join(cgroupV2(t), "kmesh-deploy-other")
	require.NoError(t, os.Mkdir(cgroup, 0o755))
	t.Cleanup(func() { require.NoError(t, os.Remove(cgroup)) })
	return node{name: nodeName + "-2", cgroup: cgroup, second: true}
}

// port returns what an agent listens on instead of a port of the chart.
func (n node) port(port int) int {
	if n.second {
		return port + 1
	}
	return port
}

// agent makes the container of the DaemonSet's pod on a node.
func (s *installed) agent(t *testing.T, agents *appsv1.DaemonSet, n node) *container {
	t.Helper()
	return s.agentOf(t, agents.Spec.Template.Spec, s.configuration(t, agents.Name), n)
}

// agentOf makes the container of an agent's pod, with a token of its service account for whom the pod asks it.
func (s *installed) agentOf(t *testing.T, spec corev1.PodSpec, configuration mount, n node) *container {
	t.Helper()
	for _, port := range []int{healthPort, telemetryPort} {
		edit(t, configuration, fmt.Sprint(port), fmt.Sprint(n.port(port)))
	}
	env := s.apiServer()
	if n.second {
		env["KMESH_TEST_NODE"] = "b"
	}
	for _, e := range spec.Containers[0].Env {
		switch e.Name {
		case "K8S_NODE_NAME":
			env[e.Name] = n.name
		case "POD_NAME", "POD_NAMESPACE", "POD_IP":
			env[e.Name] = map[string]string{"POD_NAME": release + "-x7k2p", "POD_NAMESPACE": namespace, "POD_IP": nodeAddress}[e.Name]
		case "GATEWAY":
			if strings.HasPrefix(e.Value, gateway+".") { // the cluster's DNS would resolve it
				env[e.Name] = gatewayAddress + ":4317"
			}
		}
	}
	mounts := []mount{configuration, s.agentQueue(t, spec, n), {from: n.cgroup, to: "/host/sys/fs/cgroup", readOnly: true}}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		mounts = append(mounts, s.account(t, spec.ServiceAccountName))
	}
	for _, v := range spec.Volumes {
		if v.Projected != nil || v.ConfigMap != nil && v.ConfigMap.Name == istioRoot {
			mounts = append(mounts, s.istioVolume(t, spec, v))
		}
		if v.Secret != nil {
			mounts = append(mounts, s.secretVolume(t, spec, v))
		}
	}
	c := newContainer(t, s.image, n.name, spec, "", env, mounts...)
	c.configuration = configuration
	return c
}

// apiServer is what the kubelet sets in each container.
func (s *installed) apiServer() map[string]string {
	return map[string]string{"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": strconv.Itoa(s.port)}
}

// chown gives a folder and its files to a user.
func chown(t *testing.T, dir string, user int64) {
	t.Helper()
	readable(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, path := range append(files, dir) {
		require.NoError(t, os.Chown(path, int(user), int(user)))
	}
}

// agentQueue is the folder of an agent's queue: the node's, or one that lasts as long as the pod.
func (s *installed) agentQueue(t *testing.T, spec corev1.PodSpec, n node) mount {
	t.Helper()
	for _, v := range spec.Volumes {
		if v.Name == "queue" && v.HostPath != nil {
			if _, ok := s.queues[n.name]; !ok {
				s.queues[n.name] = s.queue(s.t, 0) // it outlives the pod
			}
			return s.queues[n.name]
		}
	}
	return s.queue(t, 0)
}

// account is what the kubelet mounts of a service account, for the API server.
func (s *installed) account(t *testing.T, name string) mount {
	t.Helper()
	token, err := s.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	authority, err := os.ReadFile(s.ca)
	require.NoError(t, err)
	account := t.TempDir()
	for name, content := range map[string]string{"token": token.Status.Token, "ca.crt": string(authority), "namespace": namespace} {
		require.NoError(t, os.WriteFile(filepath.Join(account, name), []byte(content), 0o600))
	}
	return mount{from: account, to: "/var/run/secrets/kubernetes.io/serviceaccount", readOnly: true}
}

// cgroupV2 returns where this machine has cgroup v2: the value agent.cgroupPath.
func cgroupV2(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[2] == "cgroup2" {
			return fields[1]
		}
	}
	t.Fatal("no cgroup v2 is mounted")
	return ""
}

func (s *installed) daemonSet(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	agents, err := s.client.AppsV1().DaemonSets(namespace).Get(t.Context(), release, metav1.GetOptions{})
	require.NoError(t, err)
	return agents
}

// createPod makes a running pod with an address.
func (s *installed) createPod(t *testing.T, name, address string) {
	t.Helper()
	pods := s.client.CoreV1().Pods("default")
	made, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: nodeName, Containers: []corev1.Container{{Name: name, Image: name}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	made.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}}
	_, err = pods.UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
	require.NoError(t, err)
}

func healthOf(agents *appsv1.DaemonSet) string {
	probe := agents.Spec.Template.Spec.Containers[0].LivenessProbe.HTTPGet
	return "http://" + net.JoinHostPort(probe.Host, probe.Port.String()) + probe.Path
}

func answers200(t *testing.T, url string) {
	t.Helper()
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		code, body := fetch(url)
		require.Equal(a, http.StatusOK, code, body)
	}, eventually, tick, url)
}

// exchange sends bytes from the client's pod to the server's and back, over one connection.
func exchange(t *testing.T, client, server *testhost.Host, up, down int) {
	t.Helper()
	var listener net.Listener
	var from net.Conn
	var err error
	server.Do(func() { listener, err = net.Listen("tcp4", serverAddress+":0") })
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	client.Do(func() { from, err = net.Dial("tcp4", listener.Addr().String()) })
	require.NoError(t, err)
	to, err := listener.Accept()
	require.NoError(t, err)
	for _, transfer := range []struct {
		from, to net.Conn
		size     int
	}{{from, to, up}, {to, from, down}} {
		_, err = transfer.from.Write(make([]byte, transfer.size))
		require.NoError(t, err)
		_, err = io.ReadFull(transfer.to, make([]byte, transfer.size))
		require.NoError(t, err)
	}
	require.NoError(t, from.Close())
	require.NoError(t, to.Close())
}

// sum adds up the series of a metric on the gateway's page that have the labels, and counts them.
func sum(page, metric string, labels ...string) (total float64, series int) {
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, metric+"{") && !strings.HasPrefix(line, metric+" ") {
			continue
		}
		matches := true
		for _, label := range labels {
			matches = matches && regexp.MustCompile(`[{,]`+regexp.QuoteMeta(label)+`[,}]`).MatchString(line)
		}
		if matches {
			fields := strings.Fields(line)
			value, _ := strconv.ParseFloat(fields[len(fields)-1], 64)
			total += value
			series++
		}
	}
	return total, series
}

// own returns the lines of the collectors' own metrics on a page.
func own(page string) string {
	return strings.Join(regexp.MustCompile(`(?m)^otelcol_.*$`).FindAllString(page, -1), "\n")
}

// requireBytes waits until the gateway shows exactly these bytes, from both ends, on one series each.
func requireBytes(t *testing.T, up, down float64) {
	t.Helper()
	ends := []string{`source_workload="client"`, `destination_workload="server"`, `instance="` + nodeName + `"`}
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		_, page := fetch(gatewayPage)
		for _, want := range []struct {
			metric, reporter string
			value            float64
		}{
			{"kmesh_tcp_sent_bytes_total", "source", up},
			{"kmesh_tcp_received_bytes_total", "source", down},
			{"kmesh_tcp_sent_bytes_total", "destination", down},
			{"kmesh_tcp_received_bytes_total", "destination", up},
		} {
			total, series := sum(page, want.metric, append(ends, `reporter="`+want.reporter+`"`)...)
			require.Equal(a, 1, series, "%s of the %s", want.metric, want.reporter)
			require.InDelta(a, want.value, total, 0, "%s of the %s", want.metric, want.reporter)
		}
	}, eventually, tick)
}

// TestInstall is what a new user does: `helm install`, then the agent and the gateway run in containers as their
// pods say, with the rights of their service accounts and no others.
func TestInstall(t *testing.T) {
	s := install(t, "")
	s.createPod(t, "client", clientAddress)
	s.createPod(t, "server", serverAddress)
	client, server := s.network.Host("client", clientAddress+"/24"), s.network.Host("server", serverAddress+"/24")

	relay := s.gateway(t)
	relay.start()
	answers200(t, "http://"+gatewayAddress+":13133/")
	agents := s.daemonSet(t)
	agent := s.agent(t, agents, thisNode(t))
	agent.start()
	answers200(t, healthOf(agents))

	exchange(t, client, server, 231, 4000)
	requireBytes(t, 231, 4000)

	t.Run("the agent's own metrics reach the gateway", func(t *testing.T) {
		require.EventuallyWithT(t, func(a *assert.CollectT) {
			_, page := fetch(gatewayPage)
			value, series := sum(page, "otelcol_kmesh_identity_in_sync", `instance="`+nodeName+`"`)
			require.Equal(a, 1, series, own(page))
			require.InDelta(a, 1, value, 0)
		}, eventually, tick)
	})

	t.Run("the gateway is killed and comes back", func(t *testing.T) {
		relay.kill()
		exchange(t, client, server, 1000, 20)
		relay.start()
		requireBytes(t, 1231, 4020)
	})

	t.Run("the agent is asked to stop", func(t *testing.T) {
		agent.signal(syscall.SIGTERM)
		<-agent.done
		require.Zero(t, status(healthOf(agents)))
		require.True(t, agent.cmd.ProcessState.Success(), agent.cmd.ProcessState)
	})
}

// A second receiver on a node is refused. With error_mode ignore its collector keeps running, and the probe fails.
func TestHealthIsRedWithoutReceiver(t *testing.T) {
	s := install(t, "gateway.debug=true")
	agents := s.daemonSet(t)
	first := s.agent(t, agents, thisNode(t))
	first.start()
	answers200(t, healthOf(agents))

	out, err := helm("upgrade", release, chart, "--namespace", namespace, "--kubeconfig", s.kubeconfig,
		"--set", "agent.receiver.error_mode=ignore,agent.ports.health=23134")
	require.NoError(t, err, out)
	upgraded := s.daemonSet(t)
	require.NotEqual(t, agents.Spec.Template.Annotations["checksum/config"], upgraded.Spec.Template.Annotations["checksum/config"])
	upgraded.Name = release // the ConfigMap's
	second := s.agent(t, upgraded, thisNode(t))
	second.name += "-second"
	second.start()
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		code, body := fetch(healthOf(upgraded))
		require.GreaterOrEqual(a, code, 500, body)
	}, eventually, tick)
	require.Equal(t, http.StatusOK, status(healthOf(agents)), "the first is not affected")
}
