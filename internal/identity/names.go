// SPDX-License-Identifier: Apache-2.0

package identity

import "unique"

// Unknown is the value of a label when nothing is known.
const Unknown = "-"

// Other is the value of a label in place of an address when too many have no workload.
const Other = "other"

// latest is the canonical revision of a workload without one, as in Istio.
const latest = "latest"

// Names are a workload's values of the labels of the metrics. A field is [Unknown] where nothing is known, never empty.
type Names struct {
	Workload          string // the owner (Deployment, StatefulSet …), not the pod
	CanonicalService  string
	CanonicalRevision string
	Namespace         string
	Principal         string
	Cluster           string
}

// Handle returns the names' interned form, with every rule for absent values applied: a canonical service falls back to
// the workload, a revision to `latest`, and everything else to [Unknown].
func (n Names) Handle() unique.Handle[Names] {
	if n.CanonicalService == "" {
		n.CanonicalService = n.Workload
	}
	if n.CanonicalRevision == "" {
		n.CanonicalRevision = latest
	}
	for _, field := range []*string{&n.Workload, &n.CanonicalService, &n.Namespace, &n.Principal, &n.Cluster} {
		*field = orUnknown(*field)
	}
	return unique.Make(n)
}

// Principal is the SPIFFE identity of a workload, or [Unknown] unless all three of its parts are known.
func Principal(trustDomain, namespace, serviceAccount string) string {
	for _, part := range []string{trustDomain, namespace, serviceAccount} {
		if part == "" || part == Unknown {
			return Unknown
		}
	}
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + serviceAccount
}

func orUnknown(s string) string {
	if s == "" {
		return Unknown
	}
	return s
}
