// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// collector is the distribution with a configuration of testdata/map.
type collector struct {
	t      testing.TB
	config string
	env    []string
	url    string // of the map
	otlp   string // of a gateway's receiver
	cmd    *exec.Cmd
	out    output
	done   chan struct{}
}

func startCollector(t testing.TB, config string) *collector {
	t.Helper()
	page, otlp := testhost.FreePort(t), testhost.FreePort(t)
	c := &collector{
		t: t, config: "../../testdata/map/" + config,
		url: fmt.Sprintf("http://127.0.0.1:%d", page), otlp: fmt.Sprintf("http://127.0.0.1:%d", otlp),
		env: []string{fmt.Sprintf("MAP_ENDPOINT=127.0.0.1:%d", page), fmt.Sprintf("OTLP_ENDPOINT=127.0.0.1:%d", otlp)},
	}
	c.start()
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			t.Logf("--- the collector:\n%s", c.out.String())
		}
	})
	return c
}

// start runs the collector and waits for its page.
func (c *collector) start() {
	c.t.Helper()
	c.cmd = exec.Command(distribution, "--config", c.config)
	c.cmd.Env = append(os.Environ(), c.env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	require.NoError(c.t, c.cmd.Start())
	c.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(c.cmd, c.done)
	require.Eventually(c.t, func() bool { return c.answers() || c.ended() }, time.Minute, 50*time.Millisecond)
	require.False(c.t, c.ended(), c.out.String())
}

func (c *collector) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/api/graph", nil)
	if err != nil {
		return false
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (c *collector) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// stop ends the collector as Ctrl-C does. It is safe to call again.
func (c *collector) stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
		c.t.Error("the collector did not stop")
	}
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
