// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package distribution

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

// examples gives the files in deploy/examples.
func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../deploy/examples/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// healthURL reads where an example serves its health check.
func healthURL(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var config struct {
		Extensions struct {
			HealthCheck struct {
				HTTP struct {
					Endpoint string `yaml:"endpoint"`
				} `yaml:"http"`
			} `yaml:"healthcheckv2"`
		} `yaml:"extensions"`
	}
	require.NoError(t, yaml.Unmarshal(content, &config))
	endpoint := config.Extensions.HealthCheck.HTTP.Endpoint
	require.NotEmpty(t, endpoint, "every example has a health check that follows the components' status")
	return "http://" + endpoint + "/status"
}

func TestExamplesStartAndStopWithoutTheirBackends(t *testing.T) {
	for _, file := range examples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := start(t, newHost(t), file, withEnv("KMESH_QUEUE="+t.TempDir()))
			c.requireHealth(t, healthURL(t, file), 200)
			c.stop(t)
			require.NotContains(t, strings.ToLower(c.log.String()), "deprecat", "an example uses what is going away")
		})
	}
}

// With error_mode: ignore a receiver that did not start shows nowhere else.
func TestTheHealthOfTheExamplesShowsAReceiverThatFailedToStart(t *testing.T) {
	for _, file := range examples(t) {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		if !strings.Contains(string(content), "\n  kmesh:\n") {
			continue // the gateway has none
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := start(t, newHost(t), file, withEnv("KMESH_QUEUE="+t.TempDir()), without(unix.CAP_NET_ADMIN),
				withArgs("--set", "receivers::kmesh::error_mode=ignore", "--set", "receivers::kmesh::identity::source=host"))
			c.requireHealth(t, healthURL(t, file), 500)
			c.stop(t)
			require.NotContains(t, c.log.String(), "goroutine ", "no stack for an operator")
			require.NotContains(t, c.log.String(), "runtime.goexit")
		})
	}
}

func TestExamplesAreValid(t *testing.T) {
	for _, file := range examples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := start(t, newHost(t), file, validateOnly, withEnv("KMESH_QUEUE="+t.TempDir()))
			<-c.exited
			require.NoError(t, c.err)
		})
	}
}

// validateOnly checks the configuration without running it.
func validateOnly(c *collector) {
	c.cmd.Args = append([]string{c.cmd.Args[0], "validate"}, c.cmd.Args[1:]...)
}

// What the newcomer sees: one line for each end of a connection, and its bytes on the metrics page.
func TestQuickStartShowsAConnection(t *testing.T) {
	const file = "../../deploy/examples/quickstart.yaml"
	host := newHost(t)
	c := start(t, host, file)
	c.requireHealth(t, healthURL(t, file), 200)

	client := exchange(t, host.Do, 231, 4_000)

	for _, end := range []struct{ direction, sent, received string }{
		{"OUTBOUND", "231", "4000"},
		{"INBOUND", "4000", "231"},
	} {
		line := regexp.MustCompile(`(?m)^src\.addr=` + regexp.QuoteMeta(client) +
			`, src\.workload=\S+, src\.namespace=\S+, dst\.addr=127\.0\.0\.1:\d+, dst\.service=\S+, dst\.workload=\S+, dst\.namespace=\S+` +
			`, direction=` + end.direction + `, sent_bytes=` + end.sent + `, received_bytes=` + end.received + `, duration=[0-9.]+[mµn]?s ?$`)
		require.Eventually(t, func() bool { return line.MatchString(c.out.String()) }, 30*time.Second, 50*time.Millisecond,
			"no line like %s in:\n%s", line, &c.out)
	}

	// The test has both ends, so that each direction is one series of this process.
	series := regexp.MustCompile(`(?m)^kmesh_tcp_sent_bytes_total\{.*reporter="source".*source_workload="distribution\.te[^"]*".*\} 231$`)
	var page string
	require.Eventually(t, func() bool {
		_, page = c.get("http://127.0.0.1:9464/metrics")
		return series.MatchString(page)
	}, 30*time.Second, 50*time.Millisecond, "no line like %s", series)

	// The map has it, too, and its last connections.
	require.Eventually(t, func() bool {
		_, page = c.get("http://127.0.0.1:9465/api/graph")
		return strings.Contains(page, `"name":"distribution.te`)
	}, 10*time.Second, 50*time.Millisecond, "the map does not show this process: %s", page)
	status, html := c.get("http://127.0.0.1:9465/")
	require.Equal(t, 200, status)
	require.Contains(t, html, "<title>Kmesh map</title>")
	c.stop(t)
}

// exchange makes one connection over loopback inside a host and closes it: `up` bytes
// to the server and `down` back. It gives the client's address.
func exchange(t *testing.T, within func(func()), up, down int) string {
	t.Helper()
	var listener net.Listener
	var client net.Conn
	var err error
	within(func() { listener, err = net.Listen("tcp4", "127.0.0.1:0") })
	require.NoError(t, err)
	defer listener.Close()
	within(func() { client, err = net.Dial("tcp4", listener.Addr().String()) })
	require.NoError(t, err)
	defer client.Close()
	server, err := listener.Accept()
	require.NoError(t, err)
	defer server.Close()

	transfer := func(from, to net.Conn, size int) {
		_, err := from.Write(make([]byte, size))
		require.NoError(t, err)
		_, err = io.ReadFull(to, make([]byte, size))
		require.NoError(t, err)
	}
	transfer(client, server, up)
	transfer(server, client, down)
	require.NoError(t, client.Close())
	require.NoError(t, server.Close())
	return client.LocalAddr().String()
}
