// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// applications is what applications learn of their connections, in seconds.
type applications struct {
	mu        sync.Mutex
	answered  int                  // connections
	rtts      map[string][]float64 // by reporter: tcpi_rtt of a socket that is closed, in whole µs
	handshake []float64            // tcpi_rtt when connect(2) returned: of the SYN alone
	connect   []float64            // how long connect(2) took
}

func (o *applications) add(reporter string, rtt uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rtts[reporter] = append(o.rtts[reporter], float64(rtt)/1e6)
}

const stateClose = 7 // of tcpi_state

// overInfo waits until the kernel is done with a connection whose socket the application has still, and returns what it
// says of it then: nothing changes it any more.
func overInfo(conn *net.TCPConn) (info *unix.TCPInfo, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool { // a close wakes who waits to read
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		return failed != nil || info.State == stateClose
	})
	return info, errors.Join(err, failed)
}

// answer reads a request, answers it, and closes: the kernel has the end of the connection alone.
func answer(conn *net.TCPConn, learned *applications) error {
	_, err := io.Copy(io.Discard, conn)
	if err == nil {
		_, err = conn.Write(make([]byte, 100))
	}
	learned.mu.Lock()
	defer learned.mu.Unlock()
	learned.answered++
	return errors.Join(err, conn.Close())
}

// answerAndLearn is likewise, but keeps the socket until the end, and reports the round-trip time then.
func answerAndLearn(conn *net.TCPConn, learned *applications) error {
	defer func() { _ = conn.Close() }()
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return err
	}
	if _, err := conn.Write(make([]byte, 100)); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	info, err := overInfo(conn)
	if err != nil {
		return err
	}
	learned.add("destination", info.Rtt)
	learned.mu.Lock()
	defer learned.mu.Unlock()
	learned.answered++
	return nil
}

// connectAndLearn makes one connection that sends size bytes, on a thread of the host.
func connectAndLearn(address string, size int64, learned *applications) error {
	began := time.Now()
	dialed, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	took := time.Since(began)
	conn := dialed.(*net.TCPConn)
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var first *unix.TCPInfo
	if err = errors.Join(raw.Control(func(fd uintptr) {
		first, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}), err); err != nil {
		return err
	}
	if _, err := conn.Write(make([]byte, size)); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return err
	}
	info, err := overInfo(conn)
	if err != nil {
		return err
	}
	learned.add("source", info.Rtt)
	learned.mu.Lock()
	defer learned.mu.Unlock()
	learned.handshake = append(learned.handshake, float64(first.Rtt)/1e6)
	learned.connect = append(learned.connect, took.Seconds())
	return nil
}

// histograms are the last points of a metric of the latency set, by reporter.
type histograms map[string]pmetric.ExponentialHistogramDataPoint

// converse makes connections from the client to the address, which leads to the server's listener, and returns what the
// applications learned of them. Each sends size bytes, and the server answers it with serve.
func converse(t *testing.T, client, server *testhost.Host, address, listens string, connections int, size int64,
	serve func(*net.TCPConn, *applications) error,
) *applications {
	t.Helper()
	const atOnce = 8
	learned := &applications{rtts: map[string][]float64{}}
	var listener net.Listener
	var err error
	server.Do(func() { listener, err = net.Listen("tcp", listens) })
	require.NoError(t, err)

	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed below
			}
			running.Go(func() { assert.NoError(t, serve(conn.(*net.TCPConn), learned)) })
		}
	})
	todo := make(chan struct{}, connections)
	for range connections {
		todo <- struct{}{}
	}
	close(todo)
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			client.Do(func() {
				for range todo {
					if !assert.NoError(t, connectAndLearn(address, size, learned)) {
						return
					}
				}
			})
		})
	}
	clients.Wait()
	// The last server has its last acknowledgement before the listener goes.
	require.Eventually(t, func() bool {
		learned.mu.Lock()
		defer learned.mu.Unlock()
		return learned.answered == connections
	}, time.Minute, time.Millisecond)
	require.NoError(t, listener.Close())
	running.Wait()
	return learned
}

// measure makes connections while an agent runs, and returns what the applications learned, what the agent reported, and
// how many ends changed state unseen by it.
func measure(t *testing.T, client, server *testhost.Host, connections int, size int64) (*applications, map[string]histograms, uint64) {
	t.Helper()
	// One collection, at the end: reports of open connections would be in the histogram, too.
	a, sink := inKernel(t, func(s *configured) { s.CollectionInterval = time.Hour }, nil)
	learned := converse(t, client, server, "10.244.0.11:80", "10.244.0.11:80", connections, size, answerAndLearn)
	require.NoError(t, a.Stop(t.Context()))

	reported := map[string]histograms{}
	for _, name := range []string{"kmesh.tcp.rtt", "kmesh.tcp.connect.duration", "kmesh.tcp.connection.duration"} {
		reported[name] = histograms{}
		each(sink, name, func(m pmetric.Metric, reporter func(pcommon.Map) (string, bool)) {
			for _, p := range m.ExponentialHistogram().DataPoints().All() {
				if by, is := reporter(p.Attributes()); is {
					reported[name][by] = p
				}
			}
		})
	}
	tally := a.Observation().Probe.Tally
	t.Logf("%d connections; the kernel hid the ends of %d sockets, and other changes of %d", connections, tally.Vanished, tally.Late)
	return learned, reported, tally.Vanished + tally.Late
}

// bucket returns the bounds of the bucket that has the value of a rank, counted from 1.
func bucket(p pmetric.ExponentialHistogramDataPoint, rank uint64) (lower, upper float64) {
	base := math.Exp2(math.Exp2(-float64(p.Scale())))
	seen := p.ZeroCount()
	for i, n := range p.Positive().BucketCounts().All() {
		if seen += n; seen >= rank {
			at := float64(int(p.Positive().Offset()) + i)
			return math.Pow(base, at), math.Pow(base, at+1)
		}
	}
	return p.Max(), p.Max()
}

// requireQuantiles compares quantiles of a histogram with values that are between least and most for each connection.
// missing values can be anywhere.
func requireQuantiles(t *testing.T, what string, p pmetric.ExponentialHistogramDataPoint, least, most []float64, missing int) {
	t.Helper()
	slices.Sort(least)
	slices.Sort(most)
	n := int(p.Count())
	for _, q := range []float64{0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1} {
		rank := max(int(math.Ceil(q*float64(n))), 1)
		lower, upper := bucket(p, uint64(rank))
		const rounding = 1e-9
		assert.GreaterOrEqual(t, upper*(1+rounding), least[rank-1], "%s: quantile %v", what, q)
		assert.LessOrEqual(t, lower*(1-rounding), most[min(rank-1+missing, len(most)-1)], "%s: quantile %v", what, q)
	}
	lower, upper := bucket(p, uint64(n+1)/2)
	t.Logf("%s: %d values, %d missing, median in %.6f–%.6f s, the applications' %.6f–%.6f s", what, n, missing, lower, upper,
		least[len(least)/2], most[len(most)/2])
}

func TestLatencyIsWhatTheKernelTellsTheApplications(t *testing.T) {
	network := testhost.NewNetwork(t)
	client, server := network.Host("client", "10.244.0.10/24"), network.Host("server", "10.244.0.11/24")
	medians := map[string]float64{}
	compare := func(what string, connections int, size int64) {
		learned, reported, hidden := measure(t, client, server, connections, size)
		for _, reporter := range []string{"source", "destination"} {
			p, has := reported["kmesh.tcp.rtt"][reporter]
			require.True(t, has, reporter)
			missing := connections - int(p.Count())
			require.GreaterOrEqual(t, missing, 0)
			require.LessOrEqual(t, missing, int(hidden), "each end is reported, but those that the kernel hid")
			least := learned.rtts[reporter]
			most := slices.Clone(least)
			for i := range most {
				most[i] += 1e-6 // tcp_info has whole microseconds
			}
			requireQuantiles(t, what+" RTT, reporter="+reporter, p, least, most, missing)
			lower, _ := bucket(p, (p.Count()+1)/2)
			medians[what+" "+reporter] = lower
		}
		p, has := reported["kmesh.tcp.connect.duration"]["source"]
		require.True(t, has)
		// An end whose ESTABLISHED the kernel hid has no latency of its connect.
		missing := connections - int(p.Count())
		require.LessOrEqual(t, missing, int(hidden))
		requireQuantiles(t, what+" connect", p, learned.handshake, learned.connect, missing)
		require.NotContains(t, reported["kmesh.tcp.connect.duration"], "destination")
	}
	compare("plain", 10_000, 100)
	// A queue before the client's link: a request of 64 KiB waits in it.
	client.Run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "50mbit", "burst", "16kb", "latency", "500ms")
	compare("shaped", 500, 64<<10)
	require.Greater(t, medians["shaped source"], 5*medians["plain source"], "the queue shows")
}
