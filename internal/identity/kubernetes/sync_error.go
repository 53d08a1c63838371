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
	kind      kind
	resources []*resource
	verb      string // what failed
	cause     error  // of the first of them
}

type kind uint8

const (
	inSync  kind = iota
	waiting      // the first list has not arrived
	failed
	unauthorized
	forbidden
)

// syncError returns the resource's status, whose kind may be inSync.
func (r *resource) syncError() syncError {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := syncError{resources: []*resource{r}, verb: "list", cause: r.listing}
	if e.cause == nil {
		e.verb, e.cause = "watch", r.failing
	}
	if e.cause == nil && r.gap.lasts(time.Now()) {
		e.cause = errNoAnswer
	}
	switch {
	case e.cause == nil && r.handled.HasSynced():
		e.kind = inSync
	case e.cause == nil:
		e.kind = waiting
	case apierrors.IsForbidden(e.cause):
		e.kind = forbidden
	case apierrors.IsUnauthorized(e.cause):
		e.kind = unauthorized
	default:
		e.kind = failed
	}
	return e
}

// syncErrors are those of the resources, joined where they have one remedy.
func syncErrors(resources []*resource) []syncError {
	var all []syncError
	for _, r := range resources {
		e := r.syncError()
		if e.kind == inSync {
			continue
		}
		at := slices.IndexFunc(all, func(o syncError) bool { return o.kind == e.kind && e.kind != forbidden })
		if at < 0 {
			all = append(all, e)
			continue
		}
		all[at].resources = append(all[at].resources, r)
	}
	return all
}

// key is equal for equal errors. Their causes differ, in ports and times.
func (e *syncError) key() string { return fmt.Sprint(e.kind, e.names()) }

func (e *syncError) names() string {
	names := make([]string, len(e.resources))
	for i, r := range e.resources {
		names[i] = r.name
	}
	return strings.Join(names, ", ")
}

// Error says what to do.
func (e *syncError) Error() string {
	cause := e.cause
	var request *url.Error
	if errors.As(cause, &request) {
		cause = request.Err // without the long address of the one request
	}
	switch r := e.resources[0]; e.kind {
	case waiting:
		return fmt.Sprintf("the API server has not sent all %s yet", e.names())
	case forbidden:
		return fmt.Sprintf("the API server does not allow to %s %s: give the collector's service account a ClusterRole with the rule "+
			"{apiGroups: [%q], resources: [%s], verbs: [get, list, watch]}, as deploy/kubernetes/rbac.yaml does (%v)",
			e.verb, r.name, r.group, r.name, cause)
	case unauthorized:
		return fmt.Sprintf("the API server rejects the collector's credentials for %s: check identity.kubernetes.auth_type, "+
			"and the token or certificate that it selects (%v)", e.names(), cause)
	}
	return fmt.Sprintf("cannot watch %s, and retries: %v", e.names(), cause)
}
