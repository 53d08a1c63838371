// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	etcdPath      = "../../.tools/etcd"
	apiServerPath = "../../.tools/kube-apiserver"
	manifests     = "../../deploy/kubernetes"

	adminToken     = "the-test-itself" // of a server that lives as long as a test
	agentNamespace = "kmesh-telemetry"
	agentAccount   = "otelcol-kmesh"
)

// cluster is a real API server with its etcd. No kubelet and no controller runs: a test says what they would.
type cluster struct {
	etcd, apiServer program

	dir    string
	url    string
	client kubernetes.Interface // of the administrator
}

// newCluster starts etcd. The API server has an address, but does not run yet.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{dir: t.TempDir()}
	etcdURL := fmt.Sprintf("http://127.0.0.1:%d", testhost.FreePort(t))
	peerURL := fmt.Sprintf("http://127.0.0.1:%d", testhost.FreePort(t))
	c.etcd = program{
		name: "etcd",
		path: etcdPath,
		args: []string{
			"--data-dir=" + filepath.Join(c.dir, "etcd"), "--log-level=warn", "--unsafe-no-fsync",
			"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL, "--initial-cluster=default=" + peerURL,
		},
		ready: etcdURL + "/health",
	}
	c.etcd.start(t)

	port := testhost.FreePort(t)
	c.url = fmt.Sprintf("https://127.0.0.1:%d", port)
	key := c.write(t, "service-account.key", serviceAccountKey(t))
	tokens := c.write(t, "tokens.csv", []byte(adminToken+`,admin,admin,"system:masters"`+"\n"))
	c.apiServer = program{
		name: "kube-apiserver",
		path: apiServerPath,
		args: []string{
			"--etcd-servers=" + etcdURL, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
			"--cert-dir=" + filepath.Join(c.dir, "certificates"), "--token-auth-file=" + tokens, "--authorization-mode=RBAC",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
			"--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112", "--disable-admission-plugins=ServiceAccount",
			"--endpoint-reconciler-type=none",
		},
		ready: c.url + "/readyz",
	}
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: c.url, BearerToken: adminToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 1000, Burst: 1000,
	})
	require.NoError(t, err)
	c.client = client
	t.Cleanup(func() {
		client.CoreV1().RESTClient().(*rest.RESTClient).Client.CloseIdleConnections()
	})
	return c
}

// startAPIServer starts the API server for the first time; launch starts it again.
func (c *cluster) startAPIServer(t testing.TB) {
	t.Helper()
	c.apiServer.start(t)
	// Asked to stop, it waits for the watches of a collector that is still there.
	t.Cleanup(func() { _ = c.apiServer.cmd.Process.Kill() })
}

func (c *cluster) write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func serviceAccountKey(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// kubeconfig names the API server, for a client with the token in tokenFile.
func (c *cluster) kubeconfig(t testing.TB, name string) (path, tokenFile string) {
	t.Helper()
	return c.kubeconfigFor(t, name, c.url)
}

// kubeconfigFor is kubeconfig for who reaches the API server at another URL.
func (c *cluster) kubeconfigFor(t testing.TB, name, url string) (path, tokenFile string) {
	t.Helper()
	tokenFile = filepath.Join(c.dir, name+".token")
	return c.write(t, name+".kubeconfig", fmt.Appendf(nil, `
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: agent, user: {tokenFile: %q}}]
contexts: [{name: e2e, context: {cluster: e2e, user: agent}}]
current-context: e2e
`, url, tokenFile)), tokenFile
}

// token gives a token of a service account, as a kubelet would mount it.
func (c *cluster) token(t testing.TB, namespace, account string) []byte {
	t.Helper()
	answer, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(context.Background(), account,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	return []byte(answer.Status.Token)
}

// apply makes the objects of a manifest of deploy/kubernetes. A field that does not exist fails the test.
func (c *cluster) apply(t testing.TB, manifest string) []runtime.Object {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(manifests, manifest))
	require.NoError(t, err)
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	var all []runtime.Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		object, _, err := decoder.Decode(document, nil, nil)
		require.NoError(t, err, manifest)
		c.create(t, object)
		all = append(all, object)
	}
}

// create makes an object, and patches its status into it, as a kubelet would.
func (c *cluster) create(t testing.TB, objects ...runtime.Object) {
	t.Helper()
	ctx, options := context.Background(), metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
	for _, object := range objects {
		var err error
		switch o := object.(type) {
		case *corev1.Namespace:
			_, err = c.client.CoreV1().Namespaces().Create(ctx, o, options)
		case *corev1.ServiceAccount:
			_, err = c.client.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, options)
		case *corev1.ConfigMap:
			_, err = c.client.CoreV1().ConfigMaps(o.Namespace).Create(ctx, o, options)
		case *rbacv1.ClusterRole:
			_, err = c.client.RbacV1().ClusterRoles().Create(ctx, o, options)
		case *rbacv1.ClusterRoleBinding:
			_, err = c.client.RbacV1().ClusterRoleBindings().Create(ctx, o, options)
		case *appsv1.DaemonSet:
			_, err = c.client.AppsV1().DaemonSets(o.Namespace).Create(ctx, o, options)
		case *appsv1.Deployment:
			_, err = c.client.AppsV1().Deployments(o.Namespace).Create(ctx, o, options)
		case *networkingv1.NetworkPolicy:
			_, err = c.client.NetworkingV1().NetworkPolicies(o.Namespace).Create(ctx, o, options)
		case *corev1.Service:
			_, err = c.client.CoreV1().Services(o.Namespace).Create(ctx, o, options)
		case *discoveryv1.EndpointSlice:
			_, err = c.client.DiscoveryV1().EndpointSlices(o.Namespace).Create(ctx, o, options)
		case *corev1.Node:
			var made *corev1.Node
			if made, err = c.client.CoreV1().Nodes().Create(ctx, o, options); err == nil {
				made.Status = o.Status
				_, err = c.client.CoreV1().Nodes().UpdateStatus(ctx, made, metav1.UpdateOptions{})
			}
		case *corev1.Pod:
			var made *corev1.Pod
			if made, err = c.client.CoreV1().Pods(o.Namespace).Create(ctx, o, options); err == nil {
				made.Status = o.Status
				_, err = c.client.CoreV1().Pods(o.Namespace).UpdateStatus(ctx, made, metav1.UpdateOptions{})
			}
		default:
			err = fmt.Errorf("a test cannot create a %T yet", o)
		}
		require.NoError(t, err)
	}
}

// deletePod ends a pod at once, as when its kubelet has reported that it is gone.
func (c *cluster) deletePod(t testing.TB, name string) {
	t.Helper()
	now := int64(0)
	require.NoError(t, c.client.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
}

// ready sets since when a pod has its address, in whole seconds as a kubelet does.
func ready(p *corev1.Pod, since time.Time) *corev1.Pod {
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: since},
	})
	return p
}

// podOf gives a running pod of a Deployment in the namespace default.
func podOf(deployment, hash, suffix string, labels map[string]string, addresses ...string) *corev1.Pod {
	controls := true
	all := map[string]string{"pod-template-hash": hash}
	for key, value := range labels {
		all[key] = value
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: strings.Join([]string{deployment, hash, suffix}, "-"), Namespace: "default", Labels: all,
			GenerateName: deployment + "-" + hash + "-", // by which istiod recognises a controller's pods
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-" + hash, UID: "replica-set", Controller: &controls,
			}},
		},
		Spec: corev1.PodSpec{
			NodeName:           "e2e-node",
			ServiceAccountName: deployment,
			Containers:         []corev1.Container{{Name: deployment, Image: deployment}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, a := range addresses {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
		p.Status.PodIP = p.Status.PodIPs[0].IP
	}
	return p
}
