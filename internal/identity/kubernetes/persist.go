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

// How long to wait before a request is tried again. An informer's own waits grow to a minute, and nobody can set them:
// records would have given up waiting for their names long before. The longest one, with its jitter, is 3 s.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// persist makes a request until it succeeds, ctx ends, or it fails so that the informer must do something else than to
// repeat it. told hears of each try.
func persist[T any](ctx context.Context, request func() (T, error), repeat func(error) bool, told func(error)) (T, error) {
	backoff := wait.Backoff{Duration: firstRetry, Factor: 2, Jitter: 0.5, Steps: 10, Cap: lastRetry}
	for {
		answer, err := request()
		if ctx.Err() != nil {
			return answer, err
		}
		told(err)
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

// later says whether the very same request may succeed later.
func later(err error) bool {
	switch code, answered := answer(err); {
	case apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge):
		return false // an etcd that was restored from a backup: list anew
	case !answered, code == http.StatusUnauthorized, code == http.StatusForbidden:
		return true
	default:
		return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
	}
}

// laterElseList is later for a watch that is to tell also what is there already. Where it is refused, the informer lists
// instead, which may be allowed, and which tells better what is not.
func laterElseList(err error) bool {
	code, _ := answer(err)
	return later(err) && code != http.StatusUnauthorized && code != http.StatusForbidden
}

// answer is the API server's, if it was one that answered.
func answer(err error) (code int, answered bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return 0, false
	}
	return int(status.Status().Code), true
}

var errNoAnswer = errors.New("the connection ended before the API server answered")

// opened gives an error for a watch that is none: the client makes one that is over of a connection that breaks before the
// answer, as a load balancer's does that has no API server left.
func opened(w watch.Interface, err error) (watch.Interface, error) {
	if err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()) {
		return nil, errNoAnswer
	}
	return w, err
}
