// SPDX-License-Identifier: Apache-2.0

package kmeshdirectoryextension

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiServer lists the pods that a test gives it, and reports those that come and go later.
type apiServer struct {
	t       testing.TB
	server  *httptest.Server
	address string
	away    chan struct{} // closed when it goes

	mu       sync.Mutex
	version  int
	pods     map[string]*corev1.Pod
	watchers map[chan event]struct{}
}

type event struct {
	Type   string      `json:"type"`
	Object *corev1.Pod `json:"object"`
}

func startAPIServer(t testing.TB) *apiServer {
	t.Helper()
	s := &apiServer{t: t, version: 1, away: make(chan struct{}), pods: make(map[string]*corev1.Pod), watchers: make(map[chan event]struct{})}
	s.server = httptest.NewServer(http.HandlerFunc(s.serve))
	s.address = s.server.Listener.Addr().String()
	t.Cleanup(s.stop)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, []byte(fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c,
clusters: [{name: c, cluster: {server: %q}}], contexts: [{name: c, context: {cluster: c}}]}`, s.server.URL)), 0o600))
	t.Setenv("KUBECONFIG", kubeconfig)
	return s
}

func (s *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	ofPods := r.URL.Path == "/api/v1/pods"
	switch {
	case r.URL.Query().Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
			Reason: metav1.StatusReasonBadRequest, Code: http.StatusBadRequest, Message: "sendInitialEvents is forbidden"})
	case r.URL.Query().Get("watch") != "":
		s.watch(w, r, ofPods)
	case ofPods:
		s.mu.Lock()
		list := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
		list.ResourceVersion = fmt.Sprint(s.version)
		for _, p := range s.pods {
			list.Items = append(list.Items, *p)
		}
		s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(list)
	default:
		kind := map[string]string{"/api/v1/nodes": "NodeList", "/api/v1/services": "ServiceList"}[r.URL.Path]
		version := "v1"
		if kind == "" {
			kind, version = "EndpointSliceList", "discovery.k8s.io/v1"
		}
		_, _ = fmt.Fprintf(w, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"1"},"items":[]}`, kind, version)
	}
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request, ofPods bool) {
	w.WriteHeader(http.StatusOK)
	flusher := w.(http.Flusher)
	flusher.Flush()
	events := make(chan event, 100)
	if ofPods {
		s.mu.Lock()
		s.watchers[events] = struct{}{}
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.watchers, events)
		}()
	}
	for {
		select {
		case <-s.away:
			return
		case <-r.Context().Done():
			return
		case e := <-events:
			if json.NewEncoder(w).Encode(e) != nil {
				return
			}
			flusher.Flush()
		}
	}
}

func (s *apiServer) create(name, node, address string) {
	s.createReady(name, node, address, time.Time{})
}

// createReady makes a pod whose kubelet says since when it has its address.
func (s *apiServer) createReady(name, node, address string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", ResourceVersion: fmt.Sprint(s.version),
			UID: "1b4e28ba-2fa1-11d2-883f-0016d3cca427", Labels: map[string]string{"app": name},
		},
		Spec:   corev1.PodSpec{NodeName: node, ServiceAccountName: name},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}},
	}
	if !since.IsZero() {
		p.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: since}},
		}
	}
	s.pods[name] = p
	s.send("ADDED", p)
}

func (s *apiServer) delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	p := s.pods[name].DeepCopy()
	p.ResourceVersion = fmt.Sprint(s.version)
	delete(s.pods, name)
	s.send("DELETED", p)
}

func (s *apiServer) send(what string, p *corev1.Pod) {
	for w := range s.watchers {
		w <- event{what, p}
	}
}

// stop is an API server that is away, until restart.
func (s *apiServer) stop() {
	select {
	case <-s.away:
		return
	default:
	}
	_ = s.server.Listener.Close() // before anybody can come back
	close(s.away)
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *apiServer) restart() {
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	listener := listen(s.t, s.address)
	_ = server.Listener.Close()
	server.Listener = listener
	s.away = make(chan struct{})
	server.Start()
	s.server = server
	s.t.Cleanup(s.stop)
}
