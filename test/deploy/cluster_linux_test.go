// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	eventually = time.Minute
	tick       = 100 * time.Millisecond
)

const adminToken = "the-test-itself" // of a server that lives as long as a test

// Modules that contain the custom resource definitions that the chart's objects are validated against.
var definitions = map[string][]string{
	"github.com/open-telemetry/opentelemetry-operator@v0.140.0":   {"config/crd/bases/opentelemetry.io_opentelemetrycollectors.yaml"},
	"github.com/openshift/api@v0.0.0-20251120220512-cb382c9eaf42": {"payload-manifests/crds/0000_03_config-operator_01_securitycontextconstraints.crd.yaml"},
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	},
}

// GKE admits pods of these classes only in a namespace with a quota for them.
const limitedClasses = `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ResourceQuota
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: ResourceQuotaConfiguration
      limitedResources:
        - resource: pods
          matchScopes:
            - {scopeName: PriorityClass, operator: In, values: [system-node-critical, system-cluster-critical]}
`

// cluster is a real API server with its etcd. No kubelet and no controller runs.
type cluster struct {
	dir        string
	port       int
	kubeconfig string // of the administrator
	ca         string // file
	client     kubernetes.Interface
	dynamic    dynamic.Interface
	mapper     *restmapper.DeferredDiscoveryRESTMapper
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	require.Zero(t, os.Geteuid(), "these tests need root")
	c := &cluster{dir: t.TempDir(), port: testhost.FreePort(t)}
	write := func(name, content string) string {
		path := filepath.Join(c.dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	etcdURL, peerURL := fmt.Sprintf("http://127.0.0.1:%d", testhost.FreePort(t)), fmt.Sprintf("http://127.0.0.1:%d", testhost.FreePort(t))
	start(t, etcdURL+"/health", "../../.tools/etcd", "--data-dir="+filepath.Join(c.dir, "etcd"), "--log-level=warn", "--unsafe-no-fsync",
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls="+peerURL, "--initial-advertise-peer-urls="+peerURL, "--initial-cluster=default="+peerURL)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	keyFile := write("service-account.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	url := fmt.Sprintf("https://127.0.0.1:%d", c.port)
	start(t, url+"/readyz", "../../.tools/kube-apiserver",
		"--etcd-servers="+etcdURL, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", c.port),
		"--cert-dir="+filepath.Join(c.dir, "certificates"), "--token-auth-file="+write("tokens.csv", adminToken+`,admin,admin,"system:masters"`+"\n"),
		"--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+keyFile, "--service-account-signing-key-file="+keyFile,
		"--service-cluster-ip-range=10.96.0.0/16", "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none",
		"--admission-control-config-file="+write("admission.yaml", limitedClasses))

	config := &rest.Config{Host: url, BearerToken: adminToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 1000, Burst: 1000}
	c.client, err = kubernetes.NewForConfig(config)
	require.NoError(t, err)
	c.dynamic, err = dynamic.NewForConfig(config)
	require.NoError(t, err)
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.client.Discovery()))
	c.ca = filepath.Join(c.dir, "certificates", "apiserver.crt")
	c.kubeconfig = write("kubeconfig", fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: admin, user: {token: %s}}]
contexts: [{name: e2e, context: {cluster: e2e, user: admin}}]
current-context: e2e
`, url, c.ca, adminToken))
	return c
}

// installDefinitions installs the custom resource definitions, and waits until the API server serves them.
func (c *cluster) installDefinitions(t testing.TB) {
	t.Helper()
	for module, files := range definitions {
		out, err := exec.Command("go", "mod", "download", "-json", module).Output()
		require.NoError(t, err, "%s", out)
		var downloaded struct{ Dir string }
		require.NoError(t, json.Unmarshal(out, &downloaded))
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(downloaded.Dir, file))
			require.NoError(t, err)
			for _, definition := range objects(t, string(content)) {
				// The operator's certificate manager would convert the old version; nothing here asks for it.
				unstructured.RemoveNestedField(definition.Object, "spec", "conversion")
				require.NoError(t, c.apply(definition, ""))
				established(t, c, definition.GetName())
			}
		}
	}
	c.mapper.Reset()
}

func established(t testing.TB, c *cluster, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		mapping, err := c.mapper.RESTMapping(definitionKind.GroupKind())
		if err != nil {
			return false
		}
		found, err := c.dynamic.Resource(mapping.Resource).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		conditions, _, _ := unstructured.NestedSlice(found.Object, "status", "conditions")
		for _, condition := range conditions {
			if c := condition.(map[string]any); c["type"] == "Established" && c["status"] == "True" {
				return true
			}
		}
		return false
	}, 30*time.Second, 50*time.Millisecond, name)
}

// apply is `kubectl apply --server-side --validate=strict` of one object, into namespace where that is not empty.
func (c *cluster) apply(object *unstructured.Unstructured, into string) error {
	resource, err := c.resource(object, into)
	if err != nil {
		return err
	}
	content, err := json.Marshal(object)
	if err != nil {
		return err
	}
	force := true
	_, err = resource.Patch(context.Background(), object.GetName(), types.ApplyPatchType, content,
		metav1.PatchOptions{FieldManager: "test", Force: &force, FieldValidation: metav1.FieldValidationStrict})
	return err
}

// dryRun asks whether the API server would admit an object.
func (c *cluster) dryRun(object *unstructured.Unstructured) error {
	resource, err := c.resource(object, object.GetNamespace())
	if err != nil {
		return err
	}
	_, err = resource.Create(context.Background(), object,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}

func (c *cluster) resource(object *unstructured.Unstructured, into string) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == "root" {
		return c.dynamic.Resource(mapping.Resource), nil
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(into), nil
}

// start runs a program until the test ends, and waits until ready answers 200.
func start(t testing.TB, ready, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Pdeathsig is about the thread that forked.
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	require.NoError(t, <-started, path)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			text := log.String()
			t.Logf("--- the end of what %s printed:\n%s", filepath.Base(path), text[max(0, len(text)-6000):])
		}
	})
	require.Eventually(t, func() bool { return status(ready) == http.StatusOK }, 90*time.Second, 100*time.Millisecond, "%s: %s", path, ready)
	return cmd
}

var anyServer = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
	DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // only asked whether a test's server is ready
}}

// fetch returns the status and body of a page; the status is 0 when nobody answers.
func fetch(url string) (int, string) {
	response, err := anyServer.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func status(url string) int {
	code, _ := fetch(url)
	return code
}
