// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package distribution

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const nobody = 65534

// asNobody runs a copy of the distribution without root; what change does to it and to the
// command gives it capabilities.
func asNobody(t *testing.T, change func(cmd *exec.Cmd)) setting {
	t.Helper()
	return func(c *collector) {
		installed := filepath.Join(openDir(t), "otelcol-kmesh")
		require.NoError(t, exec.Command("cp", c.cmd.Path, installed).Run())
		c.cmd.Path = installed
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		change(c.cmd)
	}
}

// ways are how another user than root can be given capabilities: those of the file, as setcap
// gives them to an installed binary, or ambient ones, as systemd and setpriv give them.
var ways = map[string]func(t *testing.T, cmd *exec.Cmd){
	"file capabilities": func(t *testing.T, cmd *exec.Cmd) {
		out, err := exec.Command("setcap", "cap_bpf,cap_perfmon,cap_net_admin+ep", cmd.Path).CombinedOutput()
		require.NoError(t, err, "%s", out)
	},
	"ambient capabilities": func(_ *testing.T, cmd *exec.Cmd) {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN}
	},
}

// openDir is a folder that another user can enter, as t.TempDir is not.
func openDir(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "kmesh-nobody-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	require.NoError(t, os.Chmod(folder, 0o755))
	return folder
}

// openConfig prints each record of the access log; another user can read it.
func openConfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(openDir(t), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
receivers:
  kmesh: {identity: {source: host}}
exporters:
  debug: {verbosity: normal}
extensions:
  health_check:
    http: {endpoint: 127.0.0.1:13133}
    component_health: {include_permanent_errors: true}
service:
  extensions: [health_check]
  pipelines:
    metrics: {receivers: [kmesh], exporters: [debug]}
    logs: {receivers: [kmesh], exporters: [debug]}
`), 0o644))
	return file
}

// connection is one that root's process has, this test. The listener stays: it is what shows
// which end of an older connection opened it.
func connection(t *testing.T, host *testhost.Host, port int) (client, server net.Conn) {
	t.Helper()
	address := fmt.Sprintf("10.99.0.1:%d", port)
	host.Do(func() {
		listener, err := net.Listen("tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		client, err = net.Dial("tcp", address)
		require.NoError(t, err)
		server, err = listener.Accept()
		require.NoError(t, err)
	})
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// end sends n bytes and closes both ends.
func end(t *testing.T, client, server net.Conn, n int) {
	t.Helper()
	_, err := client.Write(make([]byte, n))
	require.NoError(t, err)
	_, err = server.Read(make([]byte, n))
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.NoError(t, server.Close())
}

// What works with the three capabilities and no more: everything. Processes of other users
// are named, and their connections are found although they are older than the collector.
func TestAnotherUserThanRootNeedsTheThreeCapabilitiesOnly(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			host := newHost(t)
			olderClient, olderServer := connection(t, host, 8001)
			c := start(t, host, openConfig(t), withArgs(statusGate), asNobody(t, func(cmd *exec.Cmd) { way(t, cmd) }))
			c.requireHealth(t, statusURL, 200)
			end(t, olderClient, olderServer, 17)
			newClient, newServer := connection(t, host, 8002)
			end(t, newClient, newServer, 19)

			process := fmt.Sprintf("distribution.te-%d", os.Getpid())
			for _, want := range []string{
				"dst.addr=10.99.0.1:8001, dst.service=10.99.0.1, dst.workload=" + process + ", dst.namespace=host, direction=OUTBOUND, sent_bytes=17",
				"dst.addr=10.99.0.1:8001, dst.service=10.99.0.1, dst.workload=" + process + ", dst.namespace=host, direction=INBOUND, sent_bytes=0, received_bytes=17",
				"dst.addr=10.99.0.1:8002, dst.service=10.99.0.1, dst.workload=" + process + ", dst.namespace=host, direction=OUTBOUND, sent_bytes=19",
			} {
				assert.Eventually(t, func() bool { return strings.Contains(c.out.String()+c.log.String(), want) },
					15*time.Second, 50*time.Millisecond, want)
			}
			second := start(t, newHost(t), openConfig(t), withArgs(statusGate), asNobody(t, func(cmd *exec.Cmd) { way(t, cmd) }))
			require.Contains(t, finalError(t, second.requireFailure(t)), "another kmesh receiver watches this node already")
			c.stop(t)
		})
	}
}

func TestAnotherUserWithoutCapabilitiesGetsAllThatIsMissing(t *testing.T) {
	c := start(t, newHost(t), openConfig(t), withArgs(statusGate), asNobody(t, func(*exec.Cmd) {}))
	message := finalError(t, c.requireFailure(t))
	for _, capability := range missingCapabilities {
		require.Contains(t, message, capability.name+" is missing")
	}
	require.Contains(t, message, "give it to the binary with setcap")
}
