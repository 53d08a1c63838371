// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
)

// The waits before a request is retried. An informer's own waits grow to a minute and cannot be set: records would have stopped
// waiting for their names long before. The longest one here, with its jitter, is 3 s.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// persist makes a request until it succeeds, ctx ends, or it fails in a way that the informer must handle. report gets the outcome
// of each attempt.
func persist[T any](ctx context.Context, request func() (T, error), repeat func(error) bool, report func(error)) (T, error) {
	backoff := wait.Backoff{Duration: firstRetry, Factor: 2, Jitter: 0.5, Steps: 10, Cap: lastRetry}
	for {
		answer, err := request()
		if ctx.Err() != nil {
			return answer, err
		}
		report(err)
		if err == nil || !repeat(err) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(backoff.Step()):
		}
	}
}

// retryable returns whether the same request may succeed later.
func retryable(err error) bool {
	switch code, answered := answer(err); {
	case apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge):
		return false // an etcd that was restored from a backup: list anew
	case !answered, code == http.StatusUnauthorized, code == http.StatusForbidden:
		return true
	default:
		return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
	}
}

// retryableElseList is retryable for a watch that begins with the present objects. Where it is forbidden, the informer lists
// instead, which may be allowed, and whose error is clearer.
func retryableElseList(err error) bool {
	code, _ := answer(err)
	return retryable(err) && code != http.StatusUnauthorized && code != http.StatusForbidden
}

// answer returns the API server's status code, if it answered.
func answer(err error) (code int, answered bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return 0, false
	}
	return int(status.Status().Code), true
}

var errNoAnswer = errors.New("the connection ended before the API server answered")

// opened returns an error for a watch that has ended already: the client makes one of a connection that breaks before the answer,
// e.g. that of a load balancer without an API server.
func opened(w watch.Interface, err error) (watch.Interface, error) {
	if err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()) {
		return nil, errNoAnswer
	}
	return w, err
}
