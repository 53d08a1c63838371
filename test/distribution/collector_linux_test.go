// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package distribution

import (
	"bytes"
	"context"
	"errors"

	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const (
	binary = "../../dist/otelcol-kmesh"
	// Starting is parsing, loading programs and finding the open sockets: well under a
	// second on an idle machine.
	startTimeout = 60 * time.Second
	// The collector's own bound on a clean end in Kubernetes is 30 s: stay well below.
	stopTimeout = 15 * time.Second
)

func TestMain(m *testing.M) {
	leaktest.Main(m)
}

// distributionBinary gives the absolute path of the built distribution.
func distributionBinary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(binary)
	require.NoError(t, err)
	require.FileExists(t, path, "run `make build` first")
	return path
}

// newHost makes a host of its own for a collector: its ports are free and no backend
// is reachable, whatever else runs on this machine.
func newHost(t *testing.T) *testhost.Host {
	t.Helper()
	return testhost.NewNetwork(t).Host("node", "10.99.0.1/24")
}

// collector is one started process of the distribution.
type collector struct {
	host *testhost.Host
	cmd  *exec.Cmd
	// before is called on the thread that starts the process.
	before []func() error

	out output // standard output
	log output // standard error, where the collector logs

	exited chan struct{} // closed when it ended, err is then its end
	err    error
}

// setting changes how a collector is started.
type setting func(*collector)

// withEnv adds KEY=value to the environment.
func withEnv(pairs ...string) setting {
	return func(c *collector) { c.cmd.Env = append(c.cmd.Env, pairs...) }
}

// withArgs adds arguments behind --config.
func withArgs(args ...string) setting {
	return func(c *collector) { c.cmd.Args = append(c.cmd.Args, args...) }
}

// without takes capabilities away, for good: they leave the bounding set.
func without(capabilities ...uintptr) setting {
	return func(c *collector) {
		c.before = append(c.before, func() error {
			for _, capability := range capabilities {
				if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// withMounts changes the mounts that the collector sees, in a namespace of its own.
func withMounts(change func() error) setting {
	return func(c *collector) {
		c.before = append(c.before, func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			return change()
		})
	}
}

// start runs the distribution with a configuration (a file's name, or yaml:...) on the host.
func start(t *testing.T, host *testhost.Host, config string, settings ...setting) *collector {
	t.Helper()
	// Killed if the test ends early; a collector that is stopped has ended long before.
	c := &collector{
		host:   host,
		cmd:    exec.Command(distributionBinary(t), "--config", config), // #nosec G204 -- our own binary
		exited: make(chan struct{}),
	}
	// Nothing of this machine's environment decides what a configuration means.
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.log
	for _, set := range settings {
		set(c)
	}
	var err error
	// Namespaces and bounding set are the thread's, and the child inherits them.
	host.Do(func() {
		for _, prepare := range c.before {
			if err = prepare(); err != nil {
				return
			}
		}
		err = c.cmd.Start()
	})
	require.NoError(t, err)
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(func() {
		select {
		case <-c.exited:
		default:
			_ = c.cmd.Process.Kill()
			<-c.exited
		}
		if t.Failed() {
			t.Logf("standard error of %v:\n%s", c.cmd.Args[1:], c.log.String())
		}
	})
	return c
}

// get asks the collector over its own network; status 0 is no answer.
func (c *collector) get(url string) (status int, body string) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (conn net.Conn, err error) {
			c.host.Do(func() { conn, err = net.DialTimeout(network, address, time.Second) })
			return conn, err
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

// requireHealth waits until the health endpoint answers with the status, and gives its body.
func (c *collector) requireHealth(t *testing.T, url string, want int) string {
	t.Helper()
	var status int
	var body string
	deadline := time.Now().Add(startTimeout)
	require.Eventually(t, func() bool {
		status, body = c.get(url)
		return status == want || c.ended() || time.Now().After(deadline)
	}, startTimeout+10*time.Second, 50*time.Millisecond)
	require.False(t, c.ended(), "it ended instead of answering:\n%s", c.log.String())
	require.Equal(t, want, status, body)
	return body
}

func (c *collector) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// stop asks for the end as Ctrl-C does and requires a clean one in time.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGINT))
	select {
	case <-c.exited:
	case <-time.After(stopTimeout):
		t.Fatalf("still running %v after the signal to stop", stopTimeout)
	}
	require.NoError(t, c.err)
}

// requireFailure waits for the collector to end by itself with an error, and gives
// what it wrote.
func (c *collector) requireFailure(t *testing.T) string {
	t.Helper()
	select {
	case <-c.exited:
	case <-time.After(startTimeout):
		t.Fatalf("started, although it must not:\n%s", c.log.String())
	}
	var exit *exec.ExitError
	require.True(t, errors.As(c.err, &exit), "it ended with %v, not with an exit code", c.err)
	require.Equal(t, 1, exit.ExitCode())
	return c.log.String()
}

// output keeps what a process writes; it can be read while the process runs.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}
