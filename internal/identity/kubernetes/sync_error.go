// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// syncError is why the present state of some resources is not known.
type syncError struct {
	kind  syncKind
	of    []*follower
	verb  string // what failed
	cause error  // of the first of them
}

type syncKind uint8

const (
	inSync     syncKind = iota
	waiting             // the first list has not arrived
	hesitating          // it fails, and has not failed for long
	failed
	unauthorized
	forbidden
)

// How long it must fail until that is an error. A connection that breaks is made anew. An API server that has just started
// refuses what it will allow when it has read who may do what.
const (
	toleratedFailure = time.Second
	toleratedRefusal = 10 * time.Second
)

// syncError returns the kind's status, which may be inSync.
func (f *follower) syncError(now time.Time) syncError {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := syncError{of: []*follower{f}, verb: f.verb, cause: f.failure}
	fails := now.Sub(f.since)
	switch {
	case e.cause == nil && f.listed.Load() && f.gap.Lasts(now) == 0:
		e.kind = inSync
	case e.cause == nil && f.listed.Load():
		e.kind = hesitating
	case e.cause == nil:
		e.kind = waiting
	case refused(e.cause) && fails < toleratedRefusal, fails < toleratedFailure:
		e.kind = hesitating
	case apierrors.IsForbidden(e.cause):
		e.kind = forbidden
	case apierrors.IsUnauthorized(e.cause):
		e.kind = unauthorized
	default:
		e.kind = failed
	}
	return e
}

// syncErrors are those of the kinds, joined where they have one remedy.
func syncErrors(followers []*follower, now time.Time) []syncError {
	var all []syncError
	for _, f := range followers {
		e := f.syncError(now)
		if e.kind == inSync {
			continue
		}
		at := slices.IndexFunc(all, func(o syncError) bool { return o.kind == e.kind && e.kind != forbidden })
		if at < 0 {
			all = append(all, e)
			continue
		}
		all[at].of = append(all[at].of, f)
	}
	return all
}

// key is equal for equal errors. Their causes differ, in ports and times.
func (e *syncError) key() string { return fmt.Sprint(e.kind, e.names()) }

func (e *syncError) names() string {
	names := make([]string, len(e.of))
	for i, f := range e.of {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

// Error names the remedy.
func (e *syncError) Error() string {
	cause := e.cause
	var request *url.Error
	if errors.As(cause, &request) {
		cause = request.Err // without the long address of the one request
	}
	switch f := e.of[0]; e.kind {
	case waiting:
		return fmt.Sprintf("the API server has not sent all %s yet", e.names())
	case forbidden:
		return fmt.Sprintf("the API server does not allow to %s %s: give the collector's service account a ClusterRole with the rule "+
			"{apiGroups: [%q], resources: [%s], verbs: [get, list, watch]}, as deploy/kubernetes/rbac.yaml does (%v)",
			e.verb, f.name, f.group, f.name, cause)
	case unauthorized:
		return fmt.Sprintf("the API server rejects the collector's credentials for %s: check identity.kubernetes.auth_type, "+
			"and the token or certificate that it selects (%v)", e.names(), cause)
	}
	return fmt.Sprintf("cannot watch %s, and retries: %v", e.names(), cause)
}
