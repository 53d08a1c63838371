// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

var thePods = schema.GroupResource{Resource: "pods"}

func TestWhatIsTriedAgain(t *testing.T) {
	tooLarge := apierrors.NewTimeoutError("Too large resource version", 1)
	tooLarge.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	for _, c := range []struct {
		name        string
		err         error
		list, watch bool // watch: one that is to tell what is there already
	}{
		{"no answer", errors.New("connection refused"), true, true},
		{"an API server that is starting", apierrors.NewTooManyRequestsError("storage is initializing"), true, true},
		{"one that fails", apierrors.NewInternalError(errors.New("etcd")), true, true},
		{"one that goes", apierrors.NewServiceUnavailable("shutting down"), true, true},
		{"a token that is not valid", apierrors.NewUnauthorized("expired"), true, false},
		{"a right that is missing", apierrors.NewForbidden(thePods, "", errors.New("RBAC")), true, false},
		{"410", apierrors.NewResourceExpired("too old"), false, false},
		{"an etcd that went back", tooLarge, false, false},
		{"initial events are not known", apierrors.NewInvalid(schema.GroupKind{}, "", nil), false, false},
		{"likewise", apierrors.NewBadRequest("sendInitialEvents"), false, false},
	} {
		require.Equal(t, c.list, retryable(c.err), c.name)
		require.Equal(t, c.watch, retryableElseList(c.err), c.name)
	}
}

func TestARequestIsRepeatedSoonerThanARecordGivesUp(t *testing.T) {
	const settle = 5 * time.Second
	require.Less(t, time.Duration(1.5*float64(lastRetry)), settle-catchUp+time.Nanosecond)

	tries, reported := 0, []error(nil)
	got, err := persist(context.Background(), func() (string, error) {
		if tries++; tries < 3 {
			return "", errors.New("connection refused")
		}
		return "pods", nil
	}, retryable, func(err error) { reported = append(reported, err) })
	require.NoError(t, err)
	require.Equal(t, "pods", got)
	require.Len(t, reported, 3)
	require.Error(t, reported[1])
	require.NoError(t, reported[2])

	expired := apierrors.NewResourceExpired("too old")
	_, err = persist(context.Background(), func() (string, error) { return "", expired }, retryable, func(error) {})
	require.Equal(t, expired, err, "the informer lists anew")

	ctx, cancel := context.WithCancel(context.Background())
	_, err = persist(ctx, func() (string, error) { cancel(); return "", errors.New("cancelled") }, retryable,
		func(error) { t.Error("the end is nothing to tell") })
	require.Error(t, err)
}

func TestAWatchWithoutAnAnswerIsNone(t *testing.T) {
	_, err := opened(watch.NewEmptyWatch(), nil)
	require.ErrorIs(t, err, errNoAnswer)
	require.True(t, retryable(err))
	require.True(t, retryableElseList(err))
	w, err := opened(watch.NewFake(), nil)
	require.NoError(t, err)
	require.NotNil(t, w)
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
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`{clusters: [{name: c, cluster: {server: "`+server.URL+`", insecure-skip-tls-verify: true}}],
		users: [{name: u, user: {tokenFile: "`+token+`"}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}`), 0o600))
	t.Setenv("KUBECONFIG", path)
	client, err := (&Config{AuthType: AuthKubeConfig}).client()
	require.NoError(t, err)

	list := func() error {
		_, err := client.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{})
		return err
	}
	require.True(t, apierrors.IsUnauthorized(list()))
	require.NoError(t, os.WriteFile(token, []byte("new\n"), 0o600))
	_ = list() // may have the old one still
	require.NoError(t, list())
}
