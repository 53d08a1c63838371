// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long the page may take to show something, on a busy machine.
const patience = 40 * time.Second

// browser is a page in Chromium.
type browser struct {
	t       testing.TB
	to      io.Writer
	answers *bufio.Reader
	origin  string
}

func open(t testing.TB, url string) *browser {
	t.Helper()
	cmd := exec.Command("node", "test/driver.mjs") //nolint:gosec // our own script
	cmd.Dir = web
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	to, err := cmd.StdinPipe()
	require.NoError(t, err)
	from, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = to.Close() // the driver closes the browser then
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	})
	b := &browser{t: t, to: to, answers: bufio.NewReader(from), origin: url}
	b.open("/")
	return b
}

// do sends a command and waits for its answer.
func (b *browser) do(name string, arguments map[string]any) json.RawMessage {
	b.t.Helper()
	value, err := b.try(name, arguments)
	require.NoError(b.t, err)
	return value
}

type driverError string

func (e driverError) Error() string { return string(e) }

func (b *browser) try(name string, arguments map[string]any) (json.RawMessage, error) {
	command := map[string]any{"name": name}
	for key, value := range arguments {
		command[key] = value
	}
	line, err := json.Marshal(command)
	if err != nil {
		return nil, err
	}
	if _, err := b.to.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	text, err := b.answers.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var answer struct {
		Value json.RawMessage
		Error string
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, driverError(name + ": " + answer.Error)
	}
	return answer.Value, nil
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.do("open", map[string]any{"url": b.origin + path})
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do("click", map[string]any{"selector": selector})
}

func (b *browser) press(key string) {
	b.t.Helper()
	b.do("press", map[string]any{"key": key})
}

func (b *browser) screenshot(path string) {
	b.t.Helper()
	b.do("screenshot", map[string]any{"path": path})
}

// evaluate gives what a script says.
func evaluate[T any](b *browser, script string) (value T) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal(b.do("evaluate", map[string]any{"script": script}), &value))
	return value
}

// eventually waits until a script says true.
func (b *browser) eventually(script, message string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for !evaluate[bool](b, "Boolean("+script+")") {
		if time.Now().After(deadline) {
			b.screenshot("/tmp/kmesh-map-failed.png")
			require.FailNow(b.t, message, "%s is not true; the page: %s", script, evaluate[string](b, "document.body.innerText"))
		}
		evaluate[bool](b, "new Promise((done) => setTimeout(() => done(true), 100))") // the page's own time passes
	}
}

// requireClean fails the test if the page logged an error, or talked with anybody else.
func (b *browser) requireClean() {
	b.t.Helper()
	var report struct{ Problems, Origins []string }
	require.NoError(b.t, json.Unmarshal(b.do("report", nil), &report))
	for _, problem := range report.Problems[:min(3, len(report.Problems))] {
		b.t.Logf("%d of: %.500q", len(report.Problems), problem)
	}
	assert.Zero(b.t, len(report.Problems))
	assert.Equal(b.t, []string{b.origin}, report.Origins)
}

// key is how the page names a node.
func key(kind, cluster, namespace, name string) string {
	text, _ := json.Marshal([]string{kind, cluster, namespace, name})
	return string(text)
}

// link is a drawn link, as the page has it.
type link struct {
	Sent, Received, Opened, Failed, Share float64
	Reason, Kind                          string
	Idle                                  bool
}

// linkScript finds a link between two nodes by their titles.
func linkScript(from, to, kind string) string {
	return "[...kmeshMap.store.links.values()].filter((l) => l.source.title === " + quote(from) + " && l.target.title === " + quote(to) +
		" && l.kind === " + quote(kind) + ")"
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}
