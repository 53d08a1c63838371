// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// FuzzResponse has a source take responses with any resources: each is rejected or in use, and all of it can be removed again.
func FuzzResponse(f *testing.F) {
	f.Add("a", encode(httpbin()), "b", encode(httpbinService()), false)
	f.Add("a", encode(httpbin()), "a", encode(podOf("p", "10.244.0.11")), true)
	f.Add("", []byte{0xff}, "x", []byte{}, false)
	f.Fuzz(func(t *testing.T, name string, message []byte, another string, second []byte, lost bool) {
		s := New(plainText("127.0.0.1:1"), identity.SourceSettings{Retain: time.Minute, NodeName: "node-1"})
		now := time.Now()
		for _, answer := range []*discovery.DeltaDiscoveryResponse{
			{Resources: []*discovery.Resource{resourceOf(name, "1", message), resourceOf(another, "1", second)}},
			{Resources: []*discovery.Resource{resourceOf(another, "2", message)}},
		} {
			_ = s.take(answer, false, now)
			if lost {
				_ = s.broke(errLostForTest, now)
			}
		}
		_ = s.take(&discovery.DeltaDiscoveryResponse{RemovedResources: []string{name, another}}, false, now)
		if held := s.Held(); held != (identity.Held{}) {
			t.Errorf("%+v are left", held)
		}
		if s.Behind() != 0 || len(s.registry.entries) > 0 {
			t.Errorf("%d are behind, %d entries are left", s.Behind(), len(s.registry.entries))
		}
	})
}

var errLostForTest = failed(nil, identityLost{})

type identityLost struct{}

func (identityLost) Error() string { return "lost" }
