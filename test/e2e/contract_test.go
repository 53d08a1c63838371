// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// The requests and answers of this scenario, in bytes.
const (
	sampleRequest = 231 // the contract's sample
	lossyRequest  = 1000
	answerSize    = 512
)

// contractSample is the sample of the telemetry contract, to the letter.
const contractSample = `kmesh_tcp_workload_received_bytes_total{connection_security_policy="mutual_tls",destination_app="httpbin",destination_canonical_revision="v1",destination_canonical_service="httpbin",destination_cluster="Kubernetes",destination_pod_address="10.244.0.11",destination_pod_name="httpbin-5c5944c58c-v9mlk",destination_pod_namespace="default",destination_principal="-",destination_version="v1",destination_workload="httpbin",destination_workload_namespace="default",reporter="destination",request_protocol="tcp",response_flags="-",source_app="sleep",source_canonical_revision="latest",source_canonical_service="sleep",source_cluster="Kubernetes",source_principal="-",source_version="latest",source_workload="sleep",source_workload_namespace="default"} 231`

// ended is a connection as its client saw it.
type ended struct {
	local       string
	sent, recvd int64
	took        time.Duration
	retransmits int64
}

// TestContract makes three connections from sleep to httpbin (one plain, one whose packets are dropped for a while,
// one refused) and checks in both servers everything that the contract requires of them.
func TestContract(t *testing.T) {
	network := testhost.NewNetwork(t)
	sleep := network.Host("sleep", "10.244.0.10/24")
	httpbin := network.Host("httpbin", "10.244.0.11/24")
	s := startStack(t)

	var server count
	serve(t, httpbin, "10.244.0.11:80", func(int64) int64 { return answerSize }, &server)
	begin := time.Now()

	plain := plainConnection(t, sleep, "10.244.0.11:80")
	t.Run("sample", func(t *testing.T) { testSample(t, s.prometheus, contractSample) })

	lossy := lossyConnection(t, sleep, httpbin)
	refusedConnect(t, sleep)
	t.Run("metrics", func(t *testing.T) { testMetrics(t, s, lossy) })
	t.Run("access log", func(t *testing.T) { testAccessLog(t, s.loki, begin, plain, lossy) })
}

// testSample looks for the contract's sample while there was one connection only.
func testSample(t *testing.T, p *prometheus, want string) {
	var samples []sample
	eventually(t, func(c *assert.CollectT) {
		var err error
		samples, err = p.query(`kmesh_tcp_workload_received_bytes_total{source_workload="sleep",reporter="destination"}`)
		require.NoError(c, err)
		require.Len(c, samples, 1)
		// What remote write adds to every series: the resource's service.name and service.instance.id.
		assert.Equal(c, "kmesh", samples[0].labels["job"])
		assert.Equal(c, "e2e-node", samples[0].labels["instance"])
		require.Equal(c, want, samples[0].without("job", "instance").String())
	})
	t.Logf("Prometheus: %s", samples[0])
}

func plainConnection(t testing.TB, from *testhost.Host, to string) ended {
	t.Helper()
	var c count
	start := time.Now()
	conn, err := dial(from, to)
	require.NoError(t, err)
	require.NoError(t, request(conn, sampleRequest, answerSize, &c))
	return end(t, conn, &c, start)
}

// lossyConnection sends its request while the server's host drops everything to its port, until the client has
// retransmitted more than once: the second time is after a timeout, which declares the segment lost.
func lossyConnection(t testing.TB, from, to *testhost.Host) ended {
	t.Helper()
	to.Run("nft", "add table inet e2e; add chain inet e2e in { type filter hook input priority 0; }")
	var c count
	start := time.Now()
	conn, err := dial(from, "10.244.0.11:80")
	require.NoError(t, err)
	to.Run("nft", "add rule inet e2e in tcp dport 80 drop")

	answered := make(chan error, 1)
	go func() { answered <- request(conn, lossyRequest, answerSize, &c) }()
	require.Eventually(t, func() bool { return tcpInfo(t, conn).Total_retrans >= 2 }, patience, 10*time.Millisecond,
		"nothing was retransmitted")
	to.Run("nft", "delete table inet e2e")
	require.NoError(t, <-answered)
	return end(t, conn, &c, start)
}

// end closes the connection of a client and returns what the client knew of it.
func end(t testing.TB, conn *net.TCPConn, c *count, start time.Time) ended {
	t.Helper()
	e := ended{
		local:       conn.LocalAddr().String(),
		sent:        c.sent.Load(),
		recvd:       c.received.Load(),
		retransmits: int64(tcpInfo(t, conn).Total_retrans),
	}
	require.NoError(t, conn.Close())
	e.took = time.Since(start)
	return e
}

// refusedConnect connects to a port without a listener.
func refusedConnect(t testing.TB, from *testhost.Host) {
	t.Helper()
	_, err := dial(from, "10.244.0.11:81")
	require.True(t, errors.Is(err, syscall.ECONNREFUSED), "got %v", err)
}

func tcpInfo(t testing.TB, conn *net.TCPConn) *unix.TCPInfo {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var info *unix.TCPInfo
	var failure error
	err = raw.Control(func(fd uintptr) {
		info, failure = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	require.NoError(t, errors.Join(err, failure))
	return info
}

// eventually repeats the assertions until they hold: a flush of the collector and a delivery take a second or two.
func eventually(t testing.TB, assertions func(c *assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, assertions, 90*time.Second, 300*time.Millisecond)
}
