// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

func TestTheFirstResponseIsAllThereIs(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w := startWorldAs(t, plainText(d.address), identity.SourceSettings{NodeName: "node-1"}, pod{"agent", "telemetry", "10.0.0.1"}, plainText("").loadTLS)
	c, first := d.connected()
	require.Equal(t, "ztunnel~10.0.0.1~agent.telemetry~telemetry.svc.cluster.local", first.Node.Id)
	require.Equal(t, "Kubernetes", first.Node.Metadata.Fields["CLUSTER_ID"].GetStringValue())
	require.Equal(t, []string{"*"}, first.ResourceNamesSubscribe)
	require.Empty(t, first.InitialResourceVersions)
	require.Equal(t, []string{"Kubernetes"}, c.metadata.Get("clusterid"))
	require.Empty(t, c.metadata.Get("authorization"))
	require.False(t, w.InSync())

	said := c.sends(resources("1", httpbin(), httpbinService()))
	require.Nil(t, said.ErrorDetail)
	require.True(t, w.InSync())
	require.EqualValues(t, 1, w.Held().Workloads)
	require.EqualValues(t, 1, w.Held().Services)
	w.is("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk of "+httpbinHost)
	w.is("[fd00::11]:80", "httpbin-5c5944c58c-v9mlk of "+httpbinHost)
	w.is("10.96.5.5:8000", "nobody of "+httpbinHost)
	w.is("[fd00:96::5]:8000", "nobody of "+httpbinHost)
	require.Equal(t, "httpbin-5c5944c58c-v9mlk of "+httpbinHost, w.who("10.244.0.11:80", time.Now().Add(-time.Hour)), "it was there before us")
}

func TestUpdatesAndRemovals(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w := startWorld(t, plainText(d.address))
	c, _ := d.connected()
	c.sends(resources("1", httpbin(), httpbinService()))
	before := time.Now()

	moved := httpbin()
	moved.Workload.Addresses = ips("10.244.0.12")
	moved.Workload.Services = nil
	c.sends(resources("2", moved))
	w.is("10.244.0.12:80", "httpbin-5c5944c58c-v9mlk")
	w.is("[fd00::11]:80", "nobody")
	require.Equal(t, "httpbin-5c5944c58c-v9mlk of "+httpbinHost, w.who("[fd00::11]:80", before), "its connections of then stay its own")

	// The address is handed on in one response, whatever comes first in it.
	answer := resources("1", podOf("a", "10.244.0.12"), podOf("z", "10.244.0.13"))
	answer.RemovedResources = []string{nameOf(moved), "nobody/knows.it"}
	between := time.Now()
	c.sends(answer)
	w.is("10.244.0.12:80", "a")
	require.Equal(t, "httpbin-5c5944c58c-v9mlk", w.who("10.244.0.12:80", between))

	c.sends(removed("default/" + httpbinHost))
	w.is("10.96.5.5:8000", "nobody of "+httpbinHost) // kube-proxy's rules go later
	require.Equal(t, 2, w.Held().Workloads)
	require.Zero(t, w.Held().Services)
}

func TestAConnectionThatBreaksIsTakenUpWhereItWas(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w := startWorld(t, plainText(d.address))
	c, _ := d.connected()
	c.sends(resources("1", httpbin(), httpbinService(), podOf("gone", "10.244.0.20"), podOf("stays", "10.244.0.21")))
	known := time.Now().Add(-2 * unseen)

	c.breaks()
	c, first := d.connected()
	require.Equal(t, map[string]string{
		nameOf(httpbin()): "1", nameOf(httpbinService()): "1", nameOf(podOf("gone")): "1", nameOf(podOf("stays")): "1",
	}, first.InitialResourceVersions)
	require.Equal(t, []string{"*"}, first.ResourceNamesSubscribe)
	require.False(t, w.InSync())
	w.is("10.244.0.20:80", "nobody") // the address may be another's by now
	require.Equal(t, "gone", w.who("10.244.0.20:80", known), "it began while all was known")
	_, settled := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.20:80")}, time.Now())
	require.False(t, settled, "istiod may come back soon enough")

	// What changed meanwhile; what did not is not sent again.
	began := time.Now()
	answer := resources("2", podOf("new", "10.244.0.22"))
	answer.RemovedResources = []string{nameOf(podOf("gone"))}
	c.sends(answer)
	require.True(t, w.InSync())
	w.is("10.244.0.20:80", "nobody")
	w.is("10.244.0.21:80", "stays")
	require.Equal(t, "new", w.who("10.244.0.22:80", began), "it may have been there since the connection broke")
	require.Equal(t, 3, w.Held().Workloads)

	c.breaks()
	_, first = d.connected()
	require.Equal(t, "2", first.InitialResourceVersions[nameOf(podOf("new"))])
	require.NotContains(t, first.InitialResourceVersions, nameOf(podOf("gone")))
}

func TestAnAddressThatIsHandedOnWhileNobodyListensCreditsNobodyWithTheOthersBytes(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w := startWorld(t, plainText(d.address))
	c, _ := d.connected()
	c.sends(resources("1", podOf("old", "10.244.0.20"), podOf("renewed", "10.244.0.21")))
	before := time.Now().Add(-2 * unseen)
	c.breaks()
	c, _ = d.connected()
	between := time.Now()
	answer := resources("2", podOf("new", "10.244.0.20", "10.244.0.21"), podOf("renewed", "10.244.0.23"))
	answer.RemovedResources = []string{nameOf(podOf("old"))}
	c.sends(answer)
	for address, was := range map[string]string{"10.244.0.20:80": "old", "10.244.0.21:80": "renewed"} {
		require.Equal(t, was, w.who(address, before))
		require.Equal(t, "nobody", w.who(address, between), "it may have been either's")
		w.is(address, "new")
	}
	w.is("10.244.0.23:80", "renewed")
}

func TestSyncIsWholeWhereThereIsTooMuchToTell(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w := startWorld(t, plainText(d.address))
	c, _ := d.connected()
	many := resources("1", podOf("stays", "10.244.0.1"))
	for i := range 2000 {
		p := podOf("p"+strings.Repeat("x", 1900)+big.NewInt(int64(i)).String(), "10.200.0.1")
		many.Resources = append(many.Resources, resourceOf(nameOf(p), "1", encode(p)))
	}
	c.sends(many)
	require.Equal(t, 2001, w.Held().Workloads)
	c.breaks()
	c, first := d.connected()
	require.Empty(t, first.InitialResourceVersions)
	c.sends(resources("1", podOf("stays", "10.244.0.1")))
	require.Equal(t, 1, w.Held().Workloads)
	c.sends(resources("1", podOf("more", "10.244.0.2")))
	require.Equal(t, 2, w.Held().Workloads)
}

func TestABadResourceIsRefusedAndTheGoodOnesAreTaken(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	w := startWorld(t, plainText(d.address))
	c, _ := d.connected()
	c.sends(resources("1", httpbin()))

	answer := resources("2", podOf("good", "10.244.0.30"))
	bad := httpbin()
	bad.Workload.Addresses = [][]byte{{1, 2, 3}}
	answer.Resources = append(answer.Resources, resourceOf(nameOf(bad), "2", encode(bad)))
	said := c.sends(answer)
	require.Equal(t, int32(codes.InvalidArgument), said.ErrorDetail.Code)
	require.Contains(t, said.ErrorDetail.Message, nameOf(bad))
	w.is("10.244.0.30:80", "good")
	w.is("10.244.0.11:80", "httpbin-5c5944c58c-v9mlk") // as before
	require.False(t, w.InSync())
	w.says("sent resources that could not be decoded (rejected with a NACK); the others are in use: resource \"" + nameOf(bad) + "\": an address has 3 bytes, not 4 or 16")

	require.Nil(t, c.sends(resources("3", httpbin())).ErrorDetail)
	require.True(t, w.InSync())
	w.says("in sync")
}

func TestItStartsBeforeIstiodAndTellsSo(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	address := d.address
	d.server.Stop()
	w := startWorld(t, plainText(address))
	w.says("cannot connect to istiod at " + address + ", and retries: ")
	require.False(t, w.InSync())
	d = startIstiod(t, address, nil)
	c, _ := d.connected()
	c.sends(resources("1", httpbin()))
	w.says("in sync")
	require.True(t, w.InSync())
}

func TestTheTokenIsShownAndReadAnew(t *testing.T) {
	d := startIstiod(t, "127.0.0.1:0", nil)
	path := filepath.Join(t.TempDir(), "token")
	token := "x." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"system:serviceaccount:kmesh-telemetry:otelcol"}`)) + ".y"
	d.accepts(func(md metadata.MD) error {
		if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+token {
			return status.Error(codes.Unauthenticated, "authentication failure")
		}
		return nil
	})
	config := plainText(d.address)
	config.TokenFile = path
	w := startWorldAs(t, config, identity.SourceSettings{}, pod{"agent", "another", "10.0.0.1"}, config.loadTLS)
	w.says("cannot read the token for istiod: set identity.istio.token_file")
	require.Contains(t, w.last(), path)

	require.NoError(t, os.WriteFile(path, []byte("expired\n"), 0o600))
	w.says("istiod at " + d.address + " rejects the collector's credentials: set identity.istio.token_file")
	require.NotContains(t, w.last(), "Bearer")

	require.NoError(t, os.WriteFile(path, []byte(token+"\n"), 0o600))
	c, first := d.connected()
	require.Contains(t, first.Node.Id, ".kmesh-telemetry~kmesh-telemetry.svc.", "the token's namespace, which istiod compares")
	c.sends(resources("1", httpbin()))
	w.says("in sync")
}

// certificates returns a server's settings, and what a client needs to trust it.
func certificates(t *testing.T, name string) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, pool
}

func TestTLSAndItsRemedies(t *testing.T) {
	server, roots := certificates(t, "istiod.istio-system.svc")
	encrypted, open := startIstiod(t, "127.0.0.1:0", server), startIstiod(t, "127.0.0.1:0", nil)
	with := func(config *tls.Config, err error) func() (*tls.Config, error) {
		return func() (*tls.Config, error) { return config, err }
	}
	trusting := &tls.Config{RootCAs: roots, ServerName: "istiod.istio-system.svc", MinVersion: tls.VersionTLS12}
	for name, test := range map[string]struct {
		endpoint string
		tls      func() (*tls.Config, error)
		want     string
	}{
		"another root":         {encrypted.address, with(&tls.Config{ServerName: "istiod.istio-system.svc"}, nil), "set identity.istio.tls.ca_file"},
		"another name":         {encrypted.address, with(&tls.Config{RootCAs: roots, ServerName: "elsewhere"}, nil), "server_name_override"},
		"plain text to TLS":    {encrypted.address, with(nil, nil), "identity.istio.tls does not match istiod"},
		"TLS to plain text":    {open.address, with(trusting, nil), "identity.istio.tls does not match istiod"},
		"a file that is amiss": {encrypted.address, with(nil, os.ErrNotExist), "cannot use identity.istio.tls: mount the files that it names"},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWorldAs(t, plainText(test.endpoint), identity.SourceSettings{}, environmentPod(), test.tls)
			w.says(test.want)
			require.False(t, w.InSync())
		})
	}
	w := startWorldAs(t, plainText(encrypted.address), identity.SourceSettings{}, environmentPod(), with(trusting, nil))
	c, _ := encrypted.connected()
	c.sends(resources("1", httpbin()))
	require.True(t, w.InSync())
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
}

func TestWhatFailsIsSaidOnceAndNotByGRPCToo(t *testing.T) {
	server, _ := certificates(t, "istiod.istio-system.svc")
	encrypted := startIstiod(t, "127.0.0.1:0", server)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	for endpoint, test := range map[string]struct {
		tls  *tls.Config
		want string
	}{
		listener.Addr().String(): {nil, "connection refused"},
		"nowhere.invalid:15010":  {nil, "nowhere.invalid"},
		encrypted.address:        {&tls.Config{ServerName: "istiod.istio-system.svc"}, "set identity.istio.tls.ca_file"},
	} {
		w := startWorldAs(t, plainText(endpoint), identity.SourceSettings{}, environmentPod(), func() (*tls.Config, error) { return test.tls, nil })
		w.says(test.want)
		require.NoError(t, w.Close())
		require.NotContains(t, warnings.String(), endpoint)
	}
}

func TestAnEndpointIsNeeded(t *testing.T) {
	require.ErrorContains(t, (&Config{}).Validate(), "identity.istio.endpoint is empty")
	for _, wrong := range []string{"istiod", "https://istiod:15012", "istiod:", ":15012", "istiod:0", "istiod:99999", "a b:1"} {
		require.ErrorContains(t, (&Config{Endpoint: wrong, ClusterID: "c"}).Validate(), "write HOST:PORT of istiod", wrong)
	}
	config := NewDefaultConfig()
	config.TLS.CAFile = "/nowhere/root.pem"
	require.ErrorContains(t, config.CheckFiles(), "identity.istio.tls.ca_file: stat /nowhere/root.pem")
	config = NewDefaultConfig()
	require.NoError(t, config.CheckFiles())
	config.Endpoint = "127.0.0.1:1"
	require.NoError(t, config.Validate())
	require.NoError(t, New(config, identity.SourceSettings{}).Close())
}
