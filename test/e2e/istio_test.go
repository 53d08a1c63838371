// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// TestIstio makes the contract's sample from the same objects as TestKubernetes, but sent by istiod. Then istiod is away while
// a pod is deleted and another one gets its address.
func TestIstio(t *testing.T) {
	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", sleepAddress+"/24")
	httpbin := network.Host("httpbin", httpbinAddress+"/24")
	var server count
	serve(t, httpbin, httpbinTarget, func(int64) int64 { return answerSize }, &server)

	// The collector is there before istiod.
	c := newCluster(t)
	c.startAPIServer(t)
	d := newIstiod(t, c)
	s := startStack(t, "E2E_SOURCE=istio", "E2E_ISTIOD="+d.plain)
	s.collector.inSync(t, false)
	c.create(t, sleepPod(), httpbinPod(), httpbinService(), httpbinSlice())
	d.start(t)
	ready := time.Now()
	s.collector.inSync(t, true)
	t.Logf("in sync %s after istiod was ready", time.Since(ready).Round(time.Millisecond))

	plainConnection(t, sleep, httpbinTarget)
	testSample(t, s.prometheus, strings.Replace(contractSample, "10.244.0.11", httpbinAddress, 1))
	eventually(t, func(a *assert.CollectT) {
		samples, err := s.prometheus.query(`kmesh_tcp_received_bytes_total{reporter="destination"}`)
		require.NoError(a, err)
		require.Len(a, samples, 1)
		for name, want := range serviceSet {
			assert.Equal(a, want, samples[0].labels[name], name)
		}
	})

	// A pod that comes while it runs.
	c.create(t, podOf("later", "57b4c6d9f4", "k2j4h", nil, laterAddress))
	later := network.Host("later", laterAddress+"/24")
	serve(t, later, laterAddress+":80", func(int64) int64 { return answerSize }, &server)
	arrivesAt(t, s, sleep, laterAddress+":80", `destination_workload="later"`)

	// While istiod is away, the pod is deleted and another one gets its address: no name is guessed meanwhile.
	d.kill()
	s.collector.inSync(t, false)
	const atHttpbin = `sum(kmesh_tcp_connections_closed_total{destination_workload="httpbin"})`
	before, err := s.prometheus.query(atHttpbin)
	require.NoError(t, err)
	c.deletePod(t, httpbinPod().Name)
	c.create(t, podOf("echo", "57b4c6d9f4", "m8n3p", nil, httpbinAddress))
	outOfScope := s.collector.own(t, "otelcol_kmesh_records_out_of_scope")
	plainConnection(t, sleep, httpbinTarget)
	eventually(t, func(a *assert.CollectT) {
		require.GreaterOrEqual(a, s.collector.own(a, "otelcol_kmesh_records_out_of_scope"), outOfScope+2, "both ends waited, and got no name")
	})
	after, err := s.prometheus.query(atHttpbin)
	require.NoError(t, err)
	require.Equal(t, before[0].value, after[0].value)
	d.launch()
	s.collector.inSync(t, true)
	arrivesAt(t, s, sleep, httpbinTarget, `destination_workload="echo",destination_version="latest"`)
	arrivesAt(t, s, sleep, laterAddress+":80", `destination_workload="later"`)

	// And a pod whose address is not reused: it is gone.
	d.kill()
	s.collector.inSync(t, false)
	c.deletePod(t, podOf("later", "57b4c6d9f4", "k2j4h", nil).Name)
	d.launch()
	s.collector.inSync(t, true)
	arrivesAt(t, s, sleep, laterAddress+":80", `destination_workload="-"`)
}

// TestIstioCredentials has istiod check a service account's token and present its own certificate. The error names what is
// wrong, and the receiver recovers without a restart once it is corrected.
func TestIstioCredentials(t *testing.T) {
	c := newCluster(t)
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	c.create(t, sleepPod())
	d := newIstiod(t, c)
	d.start(t)

	ctx := context.Background()
	tokenFile, root := filepath.Join(c.dir, "istio-token"), filepath.Join(c.dir, "root-cert.pem")
	config := istio.NewDefaultConfig()
	config.Endpoint, config.TokenFile = d.secure, tokenFile
	config.TLS.CAFile, config.TLS.ServerName = root, "istiod.istio-system.svc"
	var mu sync.Mutex
	last := ""
	source := istio.New(config, identity.SourceSettings{
		OnStatus: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			last = fmt.Sprint(err)
		},
	})
	require.NoError(t, source.Start(ctx))
	defer func() { require.NoError(t, source.Close()) }()
	says := func(want string) {
		t.Helper()
		status := ""
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			status = last
			return strings.Contains(status, want)
		}, time.Minute, 50*time.Millisecond, "should say %q", want)
		t.Log(status)
	}
	says("cannot use identity.istio.tls")

	write := func(path string, content []byte) { require.NoError(t, os.WriteFile(path, content, 0o600)) }
	write(root, selfSigned(t))
	says("cannot read the token for istiod")
	write(tokenFile, c.token(t, agentNamespace, agentAccount)) // for the API server's audience
	says("the TLS handshake with istiod")
	eventually(t, func(a *assert.CollectT) {
		held, err := c.client.CoreV1().Secrets(istioSystem).Get(ctx, "istio-ca-secret", metav1.GetOptions{})
		require.NoError(a, err)
		write(root, held.Data["ca-cert.pem"])
	})
	says("rejects the collector's credentials")
	seconds := int64(3600)
	answer, err := c.client.CoreV1().ServiceAccounts(agentNamespace).CreateToken(ctx, agentAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"istio-ca"}, ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	require.NoError(t, err)
	write(tokenFile, []byte(answer.Status.Token))
	says("<nil>")
	require.True(t, source.InSync())
	w, _ := source.Resolve(identity.End{Address: netip.MustParseAddrPort(sleepAddress + ":1")}, time.Now())
	require.NotNil(t, w)
	require.Equal(t, sleepPod().Name, w.Name)
}

// selfSigned returns a certificate that has signed no other.
func selfSigned(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
