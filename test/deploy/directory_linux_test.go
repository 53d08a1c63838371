// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	directorySecret = "directory-tls"
	directoryPort   = "15010"
)

// directoryName is what the agents verify in the directory's certificate.
const directoryName = gateway + "." + namespace + ".svc"

// certificate returns a CA and a certificate that it signed, as cert-manager writes them into a Secret.
func certificate(t *testing.T, names ...string) map[string][]byte {
	t.Helper()
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	sign := func(c *x509.Certificate, key *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, caKey)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	der, err := x509.MarshalECPrivateKey(serverKey)
	require.NoError(t, err)
	return map[string][]byte{
		"ca.crt": sign(authority, caKey), corev1.TLSCertKey: sign(server, serverKey),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	}
}

// secretVolume writes what a pod mounts of a Secret, as the kubelet does: the keys that it lists, else all.
func (s *installed) secretVolume(t *testing.T, spec corev1.PodSpec, v corev1.Volume) mount {
	t.Helper()
	secret, err := s.client.CoreV1().Secrets(namespace).Get(t.Context(), v.Secret.SecretName, metav1.GetOptions{})
	require.NoError(t, err)
	dir := t.TempDir()
	readable(t, dir)
	items := map[string]string{}
	for _, item := range v.Secret.Items {
		items[item.Key] = item.Path
	}
	for key, content := range secret.Data {
		path, listed := items[key]
		if len(items) == 0 {
			path, listed = key, true
		}
		if listed {
			require.NoError(t, os.WriteFile(filepath.Join(dir, path), content, 0o644)) // the kubelet's default; the user is not root
		}
	}
	return mount{from: dir, to: mountPath(t, spec, v.Name), readOnly: true}
}

func mountPath(t *testing.T, spec corev1.PodSpec, volume string) string {
	t.Helper()
	for _, m := range spec.Containers[0].VolumeMounts {
		if m.Name == volume {
			return m.MountPath
		}
	}
	t.Fatalf("the volume %s is not mounted", volume)
	return ""
}

// reachAPIServer lets a host's network reach the API server, which listens on this machine's loopback address.
func (s *installed) reachAPIServer(t *testing.T, from *testhost.Host) {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", s.port)
	var listener net.Listener
	var err error
	from.Do(func() { listener, err = net.Listen("tcp4", address) })
	require.NoError(t, err)
	var mu sync.Mutex
	var open []net.Conn
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp4", address)
			if err != nil {
				_ = client.Close()
				continue
			}
			mu.Lock()
			open = append(open, client, server)
			mu.Unlock()
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				relays.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		relays.Wait()
	})
}

// as returns a client with a token of a service account, as a program in its pod would have it.
func (s *installed) as(t *testing.T, account string) kubernetes.Interface {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(s.account(t, account).from, "token"))
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", s.port), BearerToken: string(token), TLSClientConfig: rest.TLSClientConfig{CAFile: s.ca},
	})
	require.NoError(t, err)
	return client
}

// TestDirectoryPreset runs an agent that asks a directory in the gateway, over TLS. The gateway has the rights, and the
// agent none. One directory replaces the other.
func TestDirectoryPreset(t *testing.T) {
	written := startPrometheus(t, "")
	s := &installed{cluster: newCluster(t), image: buildImage(t), network: testhost.NewNetwork(t)}
	s.install(t, "directory.enabled=true,directory.tls.secretName="+directorySecret+",gateway.prometheus.scrape=false,"+
		"gateway.prometheus.remoteWrite="+written.write+",agent.receiver.collection_interval=1s,agent.telemetry.scrape=true")
	_, err := s.client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: directorySecret}, Type: corev1.SecretTypeTLS, Data: certificate(t, directoryName),
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	s.createPod(t, "client", clientAddress)
	s.createPod(t, "server", serverAddress)
	client, server := s.network.Host("client", clientAddress+"/24"), s.network.Host("server", serverAddress+"/24")

	t.Run("the agents have no right, the gateway has", func(t *testing.T) {
		for account, allowed := range map[string]bool{release: false, gateway: true} {
			_, err := s.as(t, account).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
			if allowed {
				require.NoError(t, err, account)
			} else {
				require.True(t, apierrors.IsForbidden(err), "%s: %v", account, err)
			}
			_, err = s.as(t, account).CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
			require.True(t, apierrors.IsForbidden(err), "%s: %v", account, err)
		}
	})

	deployment, err := s.client.AppsV1().Deployments(namespace).Get(t.Context(), gateway, metav1.GetOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 2, *deployment.Spec.Replicas)
	relay := s.gateway(t)
	relay.start()
	answers200(t, "http://"+gatewayAddress+":13133/")

	agents := s.daemonSet(t)
	require.False(t, *agents.Spec.Template.Spec.AutomountServiceAccountToken)
	configuration := s.configuration(t, release)
	s.askDirectoryAt(t, configuration, gatewayAddress)
	agent := s.agentOf(t, agents.Spec.Template.Spec, configuration, thisNode(t))
	agent.start()
	answers200(t, healthOf(agents))
	s.requireInSync(t)
	total := exchanged{up: 231, down: 4000}
	exchange(t, client, server, 231, 4000)
	written.requireTotals(t, nodeName, total)

	t.Run("the other replica takes over", func(t *testing.T) {
		s.takeOver(t, deployment, relay)
		s.requireInSync(t)
		// A pod that no directory has named yet, so the new one is asked.
		s.createPod(t, "late", "10.244.11.12")
		late := s.network.Host("late", "10.244.11.12/24")
		exchange(t, late, server, 11, 12)
		require.EventuallyWithT(t, func(a *assert.CollectT) {
			found, err := written.samples(`kmesh_tcp_sent_bytes_total{source_workload="late",destination_workload="server",reporter="source"}`)
			require.NoError(a, err)
			require.Len(a, found, 1)
			require.InDelta(a, 11, found[0].counted(), 0)
		}, eventually, tick)
		exchange(t, client, server, 5, 6)
		total.up, total.down = total.up+5, total.down+6
		written.requireTotals(t, nodeName, total)
	})
}

// askDirectoryAt replaces the service's name, which the cluster's DNS would resolve. The certificate's name stays.
func (s *installed) askDirectoryAt(t *testing.T, configuration mount, address string) {
	t.Helper()
	edit(t, configuration, directoryName+":"+directoryPort, address+":"+directoryPort)
	edit(t, configuration, "tls:\n          ca_file: ", "tls:\n          server_name_override: "+directoryName+"\n          ca_file: ")
}

// takeOver ends a gateway, and gives its address, which stands for the service's, to another one.
func (s *installed) takeOver(t *testing.T, deployment *appsv1.Deployment, relay *container) {
	t.Helper()
	stop(t, relay)
	other := s.gatewayOf(t, deployment.Spec.Template.Spec, s.relay)
	other.start()
	answers200(t, "http://"+gatewayAddress+":13133/")
}

// requireInSync waits until the agent knows everything that it asked for.
func (s *installed) requireInSync(t *testing.T) {
	t.Helper()
	require.EventuallyWithT(t, func(a *assert.CollectT) {
		_, page := fetch(fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetryPort))
		value, series := sum(page, "otelcol_kmesh_identity_in_sync", `source="istio"`)
		require.Equal(a, 1, series)
		require.InDelta(a, 1, value, 0)
	}, eventually, tick)
}
