// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	adminToken = "the-measurement-itself" // #nosec G101 -- of a server that lives as long as a run
	writers    = 32
	perNode    = 30 // pods
)

// cluster is a real API server with its etcd.
type cluster struct {
	work       string
	etcd       *process
	apiServer  *process
	url        string
	kubeconfig string
	client     kubernetes.Interface
}

func startCluster(ctx context.Context, work string) (*cluster, error) {
	c := &cluster{work: work}
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	etcdURL, peerURL := "http://"+addresses[0], "http://"+addresses[1]
	c.etcd = &process{
		path: ".tools/etcd", log: logIn(work, "etcd"), ready: etcdURL + "/health",
		args: []string{
			"--data-dir=" + filepath.Join(work, "etcd"), "--log-level=warn", "--unsafe-no-fsync", "--quota-backend-bytes=8589934592",
			"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL, "--listen-peer-urls=" + peerURL,
			"--initial-advertise-peer-urls=" + peerURL, "--initial-cluster=default=" + peerURL,
		},
	}
	if err := c.etcd.start(ctx); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	c.url = "https://" + addresses[2]
	_, port, _ := net.SplitHostPort(addresses[2])
	keyFile, tokens := filepath.Join(work, "service-account.key"), filepath.Join(work, "tokens.csv")
	c.kubeconfig = filepath.Join(work, "kubeconfig")
	for path, content := range map[string]string{
		keyFile: string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		tokens:  adminToken + `,admin,admin,"system:masters"` + "\n",
		c.kubeconfig: fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, users: [{name: u, user: {token: %s}}],
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}], contexts: [{name: c, context: {cluster: c, user: u}}]}`, adminToken, c.url),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	c.apiServer = &process{
		path: ".tools/kube-apiserver", log: logIn(work, "kube-apiserver"), ready: c.url + "/readyz",
		args: []string{
			"--etcd-servers=" + etcdURL, "--bind-address=127.0.0.1", "--secure-port=" + port, "--cert-dir=" + filepath.Join(work, "certificates"),
			"--token-auth-file=" + tokens, "--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + keyFile, "--service-account-signing-key-file=" + keyFile,
			"--service-cluster-ip-range=10.96.0.0/14", "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none",
			"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000",
		},
	}
	if err := c.apiServer.start(ctx); err != nil {
		return nil, fmt.Errorf("kube-apiserver: %w", err)
	}
	config := &rest.Config{Host: c.url, BearerToken: adminToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	c.client, err = kubernetes.NewForConfig(config)
	return c, err
}

func (c *cluster) stop() {
	c.apiServer.kill()
	c.etcd.kill()
}

func addressOf(i int) string { return fmt.Sprintf("10.%d.%d.%d", 128+i>>16, i>>8&255, i&255) }
func podName(i int) string   { return fmt.Sprintf("deployment-%d-5c5944c58c-v%05d", i/10, i) }
func serviceName(i int) string {
	return fmt.Sprintf("service-%d", i)
}

// pod is a running one of a Deployment.
func pod(name, deployment, node, address string, since time.Time) *corev1.Pod {
	controls := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", GenerateName: deployment + "-5c5944c58c-",
			Labels: map[string]string{
				"pod-template-hash": "5c5944c58c", "app.kubernetes.io/name": deployment, "app.kubernetes.io/version": "1.2.3",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-5c5944c58c", UID: "replica-set", Controller: &controls,
			}},
		},
		Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: deployment, Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: since}},
			},
		},
	}
}

// create makes a pod, and patches its status, as its kubelet would.
func (c *cluster) create(ctx context.Context, p *corev1.Pod) error {
	status := p.Status
	pods := c.client.CoreV1().Pods(p.Namespace)
	made, err := pods.Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Status = status
	_, err = pods.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	return err
}

func (c *cluster) delete(ctx context.Context, name string) error {
	now := int64(0)
	return c.client.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now})
}

// fill makes the pods from one number to another, and the services of which they are the first pods.
func (c *cluster) fill(ctx context.Context, from, to, services int) error {
	behind := max(1, to/max(1, services))
	began := time.Now()
	if err := inParallel(ctx, from, to, func(i int) error {
		deployment := fmt.Sprintf("deployment-%d", i/10)
		return c.create(ctx, pod(podName(i), deployment, fmt.Sprintf("node-%d", i/perNode), addressOf(i), began.Add(-time.Minute)))
	}); err != nil {
		return err
	}
	return inParallel(ctx, from/behind, min(services, to/behind), func(i int) error {
		name := serviceName(i)
		if _, err := c.client.CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		port, portName := int32(8080), "http"
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: name + "-x2k4p", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
		}
		for e := i * behind; e < min((i+1)*behind, to); e++ {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{addressOf(e)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: podName(e)},
			})
		}
		_, err := c.client.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

func inParallel(ctx context.Context, from, to int, each func(int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	next.Store(int64(from))
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= to {
					return
				}
				if err := each(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// kinds are those that a directory watches.
var kinds = []string{"pods", "services", "endpointslices", "nodes"}

// watches counts those at the API server, of the kinds that a directory watches.
func (c *cluster) watches(ctx context.Context) (int, error) {
	return c.sum(ctx, "apiserver_longrunning_requests", `verb="WATCH"`)
}

// reads counts lists and watches that were begun.
func (c *cluster) reads(ctx context.Context) (int, error) {
	lists, err := c.sum(ctx, "apiserver_request_total", `verb="LIST"`)
	if err != nil {
		return 0, err
	}
	watches, err := c.sum(ctx, "apiserver_request_total", `verb="WATCH"`)
	return lists + watches, err
}

// sum adds up a metric of the API server over the kinds.
func (c *cluster) sum(ctx context.Context, name, label string) (int, error) {
	body, err := get(ctx, c.url+"/metrics")
	if err != nil {
		return 0, err
	}
	total := 0
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		line := lines.Text()
		if !strings.HasPrefix(line, name+"{") || !strings.Contains(line, label) {
			continue
		}
		for _, kind := range kinds {
			if strings.Contains(line, `resource="`+kind+`"`) {
				value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
				if err != nil {
					return 0, err
				}
				total += int(value)
			}
		}
	}
	return total, nil
}
