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

// ailment is why the present state of some resources is not known.
type ailment struct {
	kind      kind
	resources []*resource
	verb      string // what failed
	cause     error  // of the first of them
}

type kind uint8

const (
	well    kind = iota
	waiting      // the first list has not arrived
	failed
	unauthorized
	forbidden
)

// ailment tells how the resource fares.
func (r *resource) ailment() ailment {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := ailment{resources: []*resource{r}, verb: "list", cause: r.listing}
	if a.cause == nil {
		a.verb, a.cause = "watch", r.failing
	}
	if a.cause == nil && r.sight.silent(time.Now()) {
		a.cause = errNoAnswer
	}
	switch {
	case a.cause == nil && r.handled.HasSynced():
		a.kind = well
	case a.cause == nil:
		a.kind = waiting
	case apierrors.IsForbidden(a.cause):
		a.kind = forbidden
	case apierrors.IsUnauthorized(a.cause):
		a.kind = unauthorized
	default:
		a.kind = failed
	}
	return a
}

// ailments are those of the resources, joined where one remedy helps them all.
func ailments(resources []*resource) []ailment {
	var all []ailment
	for _, r := range resources {
		a := r.ailment()
		if a.kind == well {
			continue
		}
		at := slices.IndexFunc(all, func(o ailment) bool { return o.kind == a.kind && a.kind != forbidden })
		if at < 0 {
			all = append(all, a)
			continue
		}
		all[at].resources = append(all[at].resources, r)
	}
	return all
}

// key is the same as long as the ailment is.  Its cause tells ports and times that are not.
func (a *ailment) key() string { return fmt.Sprint(a.kind, a.names()) }

func (a *ailment) names() string {
	names := make([]string, len(a.resources))
	for i, r := range a.resources {
		names[i] = r.name
	}
	return strings.Join(names, ", ")
}

// Error tells the user what to do.
func (a *ailment) Error() string {
	cause := a.cause
	var request *url.Error
	if errors.As(cause, &request) {
		cause = request.Err // without the long address of the one request
	}
	switch r := a.resources[0]; a.kind {
	case waiting:
		return fmt.Sprintf("the API server has not told all %s yet", a.names())
	case forbidden:
		return fmt.Sprintf("the API server does not allow to %s %s: give the collector's service account a ClusterRole with the rule "+
			"{apiGroups: [%q], resources: [%s], verbs: [get, list, watch]}, as deploy/kubernetes/rbac.yaml does (%v)",
			a.verb, r.name, r.group, r.name, cause)
	case unauthorized:
		return fmt.Sprintf("the API server does not accept the collector's credentials for %s: check identity.kubernetes.auth_type, "+
			"and the token or certificate that it stands for (%v)", a.names(), cause)
	}
	return fmt.Sprintf("cannot watch %s, which is tried again: %v", a.names(), cause)
}
