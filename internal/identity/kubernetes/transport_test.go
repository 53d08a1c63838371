// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// clientOf makes the client of a kubeconfig for a server that speaks TLS.
func clientOf(t *testing.T, server *httptest.Server, user string) (kubernetes.Interface, *hearing) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`{clusters: [{name: c, cluster: {server: "`+server.URL+`", insecure-skip-tls-verify: true}}],
		users: [{name: u, user: {`+user+`}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}`), 0o600))
	t.Setenv("KUBECONFIG", path)
	client, heard, err := (&Config{AuthType: AuthKubeConfig}).client()
	require.NoError(t, err)
	return client, heard
}

// A token that was revoked is replaced in its file: the next but one try at the latest has the new one.
func TestATokenThatIsRefusedIsReadAgain(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") != "Bearer new" {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(apierrors.NewUnauthorized("revoked").ErrStatus)
			return
		}
		_, _ = w.Write([]byte(`{"kind": "PodList", "apiVersion": "v1", "items": []}`))
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("old"), 0o600))
	client, _ := clientOf(t, server, `tokenFile: "`+token+`"`)
	list := func() error {
		_, err := client.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{})
		return err
	}
	require.True(t, apierrors.IsUnauthorized(list()))
	require.NoError(t, os.WriteFile(token, []byte("new\n"), 0o600))
	_ = list() // may have the old one still
	require.NoError(t, list())
}

// A server that accepts a watch, and then answers nothing any more, not even a ping.
func TestAServerThatHangsIsNoticed(t *testing.T) {
	hangs := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, 2, r.ProtoMajor)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-hangs:
		case <-r.Context().Done():
		}
	}))
	frozen := freeze(t, server)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer close(hangs)
	client, heard := clientOf(t, server, "")
	w, err := client.CoreV1().Pods("").Watch(context.Background(), metav1.ListOptions{})
	require.NoError(t, err)
	defer w.Stop()
	require.WithinDuration(t, time.Now(), heard.last(), time.Second)
	select {
	case <-w.ResultChan():
		t.Fatal("a watch that is only silent goes on")
	case <-time.After(silence + pingTimeout + time.Second):
	}
	require.WithinDuration(t, time.Now(), heard.last(), silence+time.Second, "it answers to pings")

	begin := time.Now()
	close(frozen)
	select {
	case <-w.ResultChan():
	case <-time.After(silence + pingTimeout + 2*time.Second):
		t.Fatal("nobody notices")
	}
	require.Less(t, time.Since(begin), silence+pingTimeout+time.Second)
}
