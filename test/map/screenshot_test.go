// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestScreenshot takes the pictures of the documents, of real traffic; see `make screenshot`.
func TestScreenshot(t *testing.T) {
	if os.Getenv("KMESH_MAP_PICTURES") == "" {
		t.Skip("KMESH_MAP_PICTURES says where pictures go: make screenshot")
	}
	c := startCollector(t, "node.yaml")
	startShop(t)
	b := open(t, c.url)
	b.eventually("kmeshMap.store.nodes.size === 20", "all nodes")
	b.eventually("[...kmeshMap.store.links.values()].some((l) => l.share > 0)", "the failing edge")
	wait(b, 90*time.Second) // so that the charts have something to show
	picture(b, "map.png")
	b.do("scheme", map[string]any{"name": "dark"})
	picture(b, "map-dark.png")
	b.do("scheme", map[string]any{"name": "light"})
	choose(b, key("workload", "Kubernetes", "billing", "payments"))
	b.eventually("document.querySelectorAll('.records li').length > 3", "details")
	picture(b, "map-details.png")
	b.requireClean()
	require.FileExists(t, os.Getenv("KMESH_MAP_PICTURES")+"/map.png")
}

// wait lets the page's time pass.
func wait(b *browser, d time.Duration) {
	b.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		evaluate[bool](b, "new Promise((done) => setTimeout(() => done(true), 500))")
	}
}
