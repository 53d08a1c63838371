// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package distribution

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// The collector ends, or has its new configuration, within this time whatever its backends do.
const endTimeout = 10 * time.Second

// deafServer accepts connections and never answers.
func deafServer(t *testing.T, host *testhost.Host) (address string, asked func() bool) {
	t.Helper()
	var listener net.Listener
	var err error
	host.Do(func() { listener, err = net.Listen("tcp4", "127.0.0.1:0") })
	require.NoError(t, err)
	var accepted sync.WaitGroup
	var mu sync.Mutex
	var connections []net.Conn
	accepted.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			connections = append(connections, connection)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepted.Wait()
		for _, connection := range connections {
			_ = connection.Close()
		}
	})
	return listener.Addr().String(), func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(connections) > 0
	}
}

// write writes a configuration whose receiver and exporter are given.
func write(t *testing.T, file, receiver, exporter string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
receivers:
  kmesh: {identity: {source: host}, collection_interval: 1s, include_loopback: true%s}
exporters:
  %s
extensions:
  healthcheckv2:
    use_v2: true
    http: {endpoint: 127.0.0.1:13133}
service:
  extensions: [healthcheckv2]
  pipelines:
    metrics: {receivers: [kmesh], exporters: [%[3]s]}
    logs: {receivers: [kmesh], exporters: [%[3]s]}
`, receiver, exporter, strings.SplitN(exporter, ":", 2)[0]), 0o600))
}

// reported counts the ends of a client's connection that were printed.
func reported(c *collector, client string) (ends int) {
	for line := range strings.Lines(c.out.String()) {
		if strings.Contains(line, "src.addr="+client+",") {
			ends++
		}
	}
	return ends
}

// vanished is how many ends the kernel hid from every program: see docs/exactness.md.
func vanished(c *collector) (ends int64) {
	_, body := c.get("http://127.0.0.1:8888/metrics")
	for _, sample := range regexp.MustCompile(`(?m)^otelcol_kmesh_connections_missed\w*{.*kind="vanished".*} (\d+)$`).FindAllStringSubmatch(body, -1) {
		n, _ := strconv.ParseInt(sample[1], 10, 64)
		ends += n
	}
	return ends
}

const printed = `debug: {verbosity: normal, use_internal_logger: false}`

// blocked is an exporter whose calls do not return while its server is silent.
func blocked(address string) string {
	return "otlp_http: {endpoint: 'http://" + address + "', timeout: 10m, sending_queue: {enabled: false}}"
}

// refused is an exporter without a queue whose server is not there.
const refused = "otlp_http: {endpoint: 'http://127.0.0.1:1', sending_queue: {enabled: false}}"

func TestABackendThatDoesNotAnswerHoldsUpNeitherEndNorReload(t *testing.T) {
	for _, backend := range []string{"never answers", "is not there"} {
		for _, sent := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(backend+", "+sent.String(), func(t *testing.T) {
				host, file := newHost(t), filepath.Join(t.TempDir(), "config.yaml")
				address, asked := deafServer(t, host)
				exporter := blocked(address)
				if backend == "is not there" {
					exporter = refused
				}
				write(t, file, "", exporter)
				c := start(t, host, file)
				if backend == "is not there" {
					asked = func() bool { return strings.Contains(c.log.String(), "Exporting failed. Will retry") }
				}
				c.requireHealth(t, statusURL, 200)
				exchange(t, host.Do, 10, 10)
				require.Eventually(t, asked, startTimeout, 20*time.Millisecond, "what was read is not on its way")

				write(t, file, "", printed)
				begun := time.Now()
				require.NoError(t, c.cmd.Process.Signal(sent))
				if sent == syscall.SIGTERM {
					select {
					case <-c.exited:
					case <-time.After(endTimeout):
						t.Fatalf("still running after %s", endTimeout)
					}
					require.NoError(t, c.err)
				} else {
					require.Eventually(t, func() bool { return strings.Count(c.log.String(), "Everything is ready") == 2 || c.ended() },
						endTimeout, 20*time.Millisecond, "the new configuration is not active")
					client := exchange(t, host.Do, 10, 10)
					require.Eventually(t, func() bool { return reported(c, client) == 2 }, endTimeout, 50*time.Millisecond)
					c.stop(t)
				}
				t.Logf("%s", time.Since(begun).Round(10*time.Millisecond))
				require.Contains(t, c.log.String(), "access log records were lost since the start")
				require.NotContains(t, c.log.String(), "runtime.goexit", "no stack for an operator")
			})
		}
	}
}

// Every connection is reported once, by the old configuration or by the new one.
func TestAReloadLosesNoConnection(t *testing.T) {
	const reloads = 4
	host, file := newHost(t), filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, "", printed)
	c := start(t, host, file)
	c.requireHealth(t, statusURL, 200)

	var listener net.Listener
	var err error
	host.Do(func() { listener, err = net.Listen("tcp4", "127.0.0.1:0") })
	require.NoError(t, err)
	address := listener.Addr().String()
	var done atomic.Bool
	var made atomic.Int64
	var traffic sync.WaitGroup
	traffic.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Read(make([]byte, 1))
			_ = connection.Close()
		}
	})
	traffic.Go(func() {
		defer func() { _ = listener.Close() }()
		for !done.Load() {
			host.Do(func() {
				for range 20 {
					connection, err := net.Dial("tcp4", address)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = connection.Write([]byte{1})
					_, _ = connection.Read(make([]byte, 1))
					_ = connection.Close()
					made.Add(1)
				}
			})
		}
	})
	for reload := range reloads {
		before := made.Load()
		require.Eventually(t, func() bool { return made.Load() > before+200 }, startTimeout, time.Millisecond)
		write(t, file, fmt.Sprintf(", series_expiration: %dm", 10+reload), printed)
		require.NoError(t, c.cmd.Process.Signal(syscall.SIGHUP))
		require.Eventually(t, func() bool { return strings.Count(c.log.String(), "Everything is ready") == reload+2 }, startTimeout, time.Millisecond)
	}
	done.Store(true)
	traffic.Wait()
	line := regexp.MustCompile(`dst\.addr=` + regexp.QuoteMeta(address) + `,.*direction=(OUTBOUND|INBOUND)`)
	count := func() (ends int64) { return int64(len(line.FindAllString(c.out.String(), -1))) }
	var hidden int64
	require.Eventually(t, func() bool { hidden = vanished(c); return count()+hidden >= 2*made.Load() }, 30*time.Second, 100*time.Millisecond,
		"fewer ends than %d connections have", made.Load())
	c.stop(t)
	require.LessOrEqual(t, count(), 2*made.Load(), "an end twice")
	require.GreaterOrEqual(t, count()+hidden, 2*made.Load(), "%d ends hidden by the kernel", hidden)
	require.Equal(t, reloads, strings.Count(c.log.String(), `"continues_after_reload": true`))
	t.Logf("%d connections over %d reloads, %d ends hidden by the kernel", made.Load(), reloads, hidden)
}

// A change that the programs are loaded with takes other programs: what closes in between is not reported.
func TestAReloadWithOtherProgramsStartsAnew(t *testing.T) {
	host, file := newHost(t), filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, "", printed)
	c := start(t, host, file)
	c.requireHealth(t, statusURL, 200)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(content), "include_loopback: true", "include_loopback: false", 1)), 0o600))
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Count(c.log.String(), "Everything is ready") == 2 }, startTimeout, 20*time.Millisecond)
	require.Equal(t, 2, strings.Count(c.log.String(), `"continues_after_reload": false`))
	c.stop(t)
}

// A partial reload that takes one signal away leaves the other one running.
func TestAPartialReloadLeavesTheOtherSignal(t *testing.T) {
	host, file := newHost(t), filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, "", printed)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	// A pipeline needs a receiver: another one takes the place.
	both := strings.Replace(string(content), "exporters:\n", "  otlp: {protocols: {http: {endpoint: '127.0.0.1:4318'}}}\nexporters:\n", 1)
	both = strings.ReplaceAll(both, "receivers: [kmesh]", "receivers: [kmesh, otlp]")
	require.NoError(t, os.WriteFile(file, []byte(both), 0o600))
	c := start(t, host, file, withArgs("--feature-gates=+service.partialReload"))
	c.requireHealth(t, statusURL, 200)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(both, "metrics: {receivers: [kmesh, otlp]", "metrics: {receivers: [otlp]", 1)), 0o600))
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Contains(c.log.String(), "Partial receiver reload completed") }, startTimeout, 20*time.Millisecond)
	client := exchange(t, host.Do, 10, 10)
	require.Eventually(t, func() bool { return reported(c, client) == 2 }, endTimeout, 50*time.Millisecond)
	c.stop(t)
}
