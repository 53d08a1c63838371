// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAbsentNamesFallBackAndAreNeverEmpty(t *testing.T) {
	for name, c := range map[string]struct{ given, want Names }{
		"nothing is known": {
			Names{},
			Names{Workload: "-", CanonicalService: "-", CanonicalRevision: "latest", Namespace: "-", Principal: "-", Cluster: "-"},
		},
		"the canonical service is the workload": {
			Names{Workload: "sleep", Namespace: "default"},
			Names{Workload: "sleep", CanonicalService: "sleep", CanonicalRevision: "latest", Namespace: "default", Principal: "-", Cluster: "-"},
		},
		"what is known stays": {
			Names{Workload: "httpbin-v1", CanonicalService: "httpbin", CanonicalRevision: "v1", Namespace: "default", Principal: "spiffe://td/ns/default/sa/httpbin", Cluster: "Kubernetes"},
			Names{Workload: "httpbin-v1", CanonicalService: "httpbin", CanonicalRevision: "v1", Namespace: "default", Principal: "spiffe://td/ns/default/sa/httpbin", Cluster: "Kubernetes"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, c.given.Handle().Value())
			require.Equal(t, c.want.Handle(), c.given.Handle(), "equal names must be one series")
		})
	}
}

func TestAPrincipalNeedsAllItsParts(t *testing.T) {
	require.Equal(t, "spiffe://cluster.local/ns/default/sa/httpbin", Principal("cluster.local", "default", "httpbin"))
	for _, parts := range [][3]string{
		{"", "default", "httpbin"}, {"cluster.local", "", "httpbin"}, {"cluster.local", "default", ""},
		{"-", "default", "httpbin"}, {"cluster.local", "-", "httpbin"}, {"cluster.local", "default", "-"}, {},
	} {
		require.Equal(t, "-", Principal(parts[0], parts[1], parts[2]), "%q", parts)
	}
}
