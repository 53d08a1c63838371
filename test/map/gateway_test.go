// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shop is a small application, as three agents see it.
func shop() []call {
	return []call{
		{"gateway", "edge", "frontend", "shop", "frontend", 6_000, 240_000, 0},
		{"frontend", "shop", "catalog", "shop", "catalog", 3_000, 90_000, 0},
		{"frontend", "shop", "cart", "shop", "cart", 2_000, 9_000, 0},
		{"frontend", "shop", "checkout", "shop", "checkout", 1_500, 4_000, 0},
		{"checkout", "shop", "payments", "billing", "payments", 900, 1_200, 3},
		{"checkout", "shop", "cart", "shop", "cart", 500, 1_000, 0},
		{"checkout", "shop", "mail", "billing", "mail", 700, 300, 0},
		{"cart", "shop", "redis", "data", "redis", 12_000, 20_000, 0},
		{"catalog", "shop", "postgres", "data", "postgres", 30_000, 1_500_000, 0},
		{"payments", "billing", "ledger", "billing", "ledger", 2_500, 1_800, 0},
		{"ledger", "billing", "postgres", "data", "postgres", 8_000, 11_000, 0},
		{"prometheus", "monitoring", "frontend", "shop", "frontend", 300, 40_000, 0},
		{"prometheus", "monitoring", "catalog", "shop", "catalog", 300, 30_000, 0},
	}
}

func TestThreeAgentsAreOneGraphWithoutDoubledEdges(t *testing.T) {
	c := startCollector(t, "gateway.yaml")
	(&agents{t: t, url: c.otlp}).run(shop())
	b := open(t, c.url)
	requireNodes(t, b, 11+9) // workloads and services
	for _, one := range shop() {
		for _, kind := range []string{"call", "pair"} {
			to := one.service
			script := "(() => { const found = " + linkScript(one.from, to, kind) + "; return found.length === 1 && Math.abs(found[0].sent - " +
				fmt.Sprint(one.sent) + ") < " + fmt.Sprint(one.sent/10) + " && Math.abs(found[0].received - " + fmt.Sprint(one.received) + ") < " + fmt.Sprint(one.received/10) + "; })()"
			b.eventually(script, fmt.Sprintf("one %s of %s to %s with its rates", kind, one.from, to))
		}
	}
	assert.Equal(t, 3, evaluate[int](b, "kmeshMap.store.senders"))
	b.requireClean()
	require.NotEmpty(t, evaluate[string](b, "document.title"))
}
