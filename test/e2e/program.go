// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	readyWithin = 90 * time.Second // a cold disk and two busy cores
	stopWithin  = 30 * time.Second
)

// program is a server or the collector: a process that can be killed and started again with the same arguments.
type program struct {
	t     testing.TB
	name  string
	path  string
	args  []string
	env   []string // beside the test's own
	ready string   // URL that answers 200 when the program can be used; with https, the certificate is not checked
	log   string   // file with what it printed, over all its lives

	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone
}

// start runs the program and waits until it is ready. It is stopped when the test ends, and what it printed is shown
// if the test failed.
func (p *program) start(t testing.TB) {
	t.Helper()
	p.t = t
	p.log = filepath.Join(t.TempDir(), p.name+".log")
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("--- the end of what %s printed:\n%s", p.name, tail(p.log, 16<<10))
		}
	})
	p.launch()
}

// launch starts a process and waits until it is ready.
func (p *program) launch() {
	p.t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	defer func() { _ = out.Close() }()

	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = out, out
	// It must not outlive a test process that was killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		// Pdeathsig is about the thread that forked, and threads that were in a test host's namespace end.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	require.NoError(p.t, <-started, "start %s", p.name)
	p.cmd, p.done = cmd, done

	require.Eventually(p.t, func() bool {
		select {
		case <-done:
			return true
		default:
			return answers(p.ready)
		}
	}, readyWithin, 100*time.Millisecond, "%s is not ready: %s does not answer 200", p.name, p.ready)
	select {
	case <-done:
		require.FailNow(p.t, p.name+" ended before it was ready", cmd.ProcessState.String())
	default:
	}
}

// kill ends the process as a power cut would, with what it had only in memory.
func (p *program) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill(), "kill %s", p.name)
	<-p.done
}

// stop asks the process to end and kills it if it does not. It is safe to call again.
func (p *program) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		p.t.Errorf("%s did not stop within %s of SIGTERM", p.name, stopWithin)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	p.cmd = nil
}

// client keeps no connection, so that nothing outlives a test.
var client = &http.Client{Transport: &http.Transport{
	DisableKeepAlives: true,
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // only asked whether a test's server is ready
}, Timeout: 30 * time.Second}

// get reads what url answers; an answer other than 200 is an error with its text.
func get(url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

func answers(url string) bool {
	_, err := get(url)
	return err == nil
}

// tail gives the last bytes of a file, at most limit.
func tail(path string, limit int64) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if skip := int64(len(content)) - limit; skip > 0 {
		content = content[skip:]
	}
	return string(content)
}
