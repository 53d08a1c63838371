// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// clientOf makes the client of a kubeconfig for a server that speaks TLS.
func clientOf(t *testing.T, server *httptest.Server, user string) (apiClient, *hearing) {
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

// Where a list is no part of a watch, it is asked for in pages, compressed, and only what is used of it is decoded.
func TestAListIsPagedAndCompressed(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "gzip", r.Header.Get("Accept-Encoding"))
		assert.Contains(t, r.Header.Get("Accept"), runtime.ContentTypeProtobuf)
		assert.Equal(t, strconv.Itoa(pageSize), r.URL.Query().Get("limit"))
		page := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
		if r.URL.Query().Get("continue") == "" {
			page.Continue, page.Items = "page 2", []corev1.Pod{*realPod(0)}
		} else {
			page.Items = []corev1.Pod{*realPod(1)}
		}
		w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		_, _ = zip.Write(encoded(t, page))
		_ = zip.Close()
	}))
	defer server.Close()
	client, _ := clientOf(t, server, "")
	pods := kinds(client, newTestRegistry())[3]
	require.Equal(t, ofPods, pods.name)
	var got []string
	take := pods.set
	pods.set = func(o runtime.Object, in *list, now time.Time) {
		p := o.(*corev1.Pod)
		got = append(got, p.Name)
		assert.Empty(t, p.ManagedFields)
		take(o, in, now)
	}
	f := &follower{kindOf: pods, gap: identity.NewGap(), onListed: func() {}}
	require.NoError(t, f.listAll(context.Background(), f.nextList()))
	require.Equal(t, []string{realPod(0).Name, realPod(1).Name}, got)
}

// What a watch reports is decoded likewise, the list that it begins with too.
func TestAWatchIsStreamed(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "true", r.URL.Query().Get("sendInitialEvents"))
		assert.Contains(t, r.Header.Get("Accept"), runtime.ContentTypeProtobuf)
		w.Header().Set("Content-Type", runtime.ContentTypeProtobuf+";stream=watch")
		frames, raw := protobuf.LengthDelimitedFramer.NewFrameWriter(w), protobuf.NewRawSerializer(scheme.Scheme, scheme.Scheme)
		end := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "9", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
		for _, e := range []watch.Event{{Type: watch.Added, Object: realPod(0)}, {Type: watch.Bookmark, Object: end}} {
			assert.NoError(t, raw.Encode(&metav1.WatchEvent{Type: string(e.Type), Object: runtime.RawExtension{Raw: encoded(t, e.Object)}}, frames))
		}
	}))
	defer server.Close()
	client, _ := clientOf(t, server, "")
	r := newTestRegistry()
	f := &follower{kindOf: kinds(client, r)[3], canStream: true, gap: identity.NewGap(), onListed: func() {}}
	require.ErrorIs(t, f.follow(context.Background()), errLost)
	require.True(t, f.listed.Load())
	require.Equal(t, "9", f.version)
	require.Equal(t, realPod(0).Name, serviceOfPod(r, addressOf(0)+":80", time.Now()))
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
