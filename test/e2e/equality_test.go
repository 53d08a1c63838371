// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// TestEverySumIsTheSame makes 2,000 connections of mixed sizes, over IPv4 and IPv6: the applications, both sets in
// Prometheus and the lines in Loki must come to the same numbers.
func TestEverySumIsTheSame(t *testing.T) {
	const connections, atOnce = 2000, 16
	client, targets, counted := loadHosts(t)
	s := startStack(t)

	jobs := make(chan job)
	go func() {
		defer close(jobs)
		for i := range connections {
			jobs <- job{address: targets[i%len(targets)], size: mixedSize(uint64(i))}
		}
	}()
	drive(t, client, atOnce, jobs, mixedAnswer, &counted.client)
	require.EqualValues(t, connections, counted.client.connections.Load())
	requireEqualSums(t, s, counted)
}

// loadHosts makes two hosts with a server in one of them, and gives the other, the server's addresses and what both
// sides count.
func loadHosts(t testing.TB) (client *testhost.Host, targets []string, counted *tally) {
	t.Helper()
	counted = &tally{}
	client, targets = loadHostsFor(t, counted)
	return client, targets, counted
}

// loadHostsFor is loadHosts that goes on with what was counted before.
func loadHostsFor(t testing.TB, counted *tally) (client *testhost.Host, targets []string) {
	t.Helper()
	network := testhost.NewNetwork(t)
	client = network.Host("client", "10.244.7.10/24", "fd00:244:7::10/64")
	server := network.Host("server", "10.244.7.11/24", "fd00:244:7::11/64")
	targets = []string{"10.244.7.11:80", "[fd00:244:7::11]:80"}
	for _, target := range targets {
		serve(t, server, target, mixedAnswer, &counted.server)
	}
	return client, targets
}
