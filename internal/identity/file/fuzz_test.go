// SPDX-License-Identifier: Apache-2.0

package file

import (
	"testing"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// FuzzFile reads any text: it is rejected, or its content can be put into an index and removed again.
func FuzzFile(f *testing.F) {
	for _, text := range []string{
		podA, podB, bad, "", "workloads: []\n", "---\n---\n", "workloads: [&a {uid: a, name: n}, *a]\n",
		"services: [{name: s, namespace: n, hostname: h, addresses: [10.96.0.1], ports: [{service_port: 80}]}]\n" +
			"workloads: [{uid: a, name: a, addresses: ['fd00::1'], network_mode: HOST_NETWORK, services: {n/h: [{service_port: 80, target_port: 8080}]}}]\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		found, err := Parse(text)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		index, now := identity.NewIndex(time.Minute), noon
		for _, s := range found.Services {
			index.UpsertService(s, now, now)
		}
		for _, w := range found.Workloads {
			index.Upsert(w, now, now)
		}
		if held := index.Held(); held.Workloads != len(found.Workloads) || held.Services != len(found.Services) {
			t.Errorf("%+v of %d and %d", held, len(found.Workloads), len(found.Services))
		}
		for _, w := range found.Workloads {
			index.Remove(w.UID, now)
		}
		for _, s := range found.Services {
			index.RemoveService(s.Key(), now)
		}
		if held := index.Held(); held != (identity.Held{}) {
			t.Errorf("%+v are left", held)
		}
	})
}
