// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const binary = "dist/otelcol-kmesh"

// arm is something that watches the host, or nothing.
type arm struct {
	name    string
	command []string // nil: nothing
	watched bool     // it is our collector
}

// on pins the arm to a core.
func (a arm) on(name, core string) arm {
	a.name, a.command = name, append([]string{"taskset", "-c", core}, a.command...)
	return a
}

func collector(name string, extra ...string) arm {
	command := []string{binary, "--config", "testdata/bench/metrics.yaml"}
	for _, e := range extra {
		command = append(command, "--config", e)
	}
	return arm{name: name, command: command, watched: true}
}

const (
	loopbackToo = "yaml:receivers::kmesh::include_loopback: true"
	accessLog   = "testdata/bench/accesslog.yaml"
	traces      = "testdata/bench/traces.yaml"
	workloads   = "yaml:receivers::kmesh::workload_metrics::enabled: true"
	eachOne     = "yaml:receivers::kmesh::connection_metrics::enabled: true"
)

var (
	nothing  = arm{name: "nothing"}
	metrics  = collector("metrics", loopbackToo)
	defaults = collector("metrics, access log", loopbackToo, accessLog)
	traced   = collector("metrics, access log, traces", loopbackToo, accessLog, traces)
	allSets  = collector("metrics of all sets, access log", loopbackToo, accessLog, workloads, eachOne)
	many     = collector("metrics, access log", loopbackToo, accessLog, "yaml:receivers::kmesh::max_connections: 1200000")
	tcplife  = arm{name: "tcplife", command: []string{"tcplife"}}
)

// watcher is an arm that runs.
type watcher struct {
	cmd *exec.Cmd
	up  time.Time // when it was ready
}

// begin starts the arm, and returns when it watches.
func (b *bench) begin(ctx context.Context, a arm, env ...string) (*watcher, error) {
	if a.command == nil {
		return &watcher{}, nil
	}
	w := &watcher{cmd: exec.CommandContext(ctx, a.command[0], a.command[1:]...)} // #nosec G204 -- our own words
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if !a.watched {
		if err := w.cmd.Start(); err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		return w, attached(ctx, a.name)
	}
	health, err := freePort()
	if err != nil {
		return nil, err
	}
	identities := filepath.Join(b.work, "identity.yaml")
	if err := os.WriteFile(identities, []byte(identityFile()), 0o600); err != nil {
		return nil, err
	}
	w.cmd.Env = append(os.Environ(), append(env, "BENCH_IDENTITY="+identities, "BENCH_HEALTH="+health)...)
	var complaint strings.Builder
	w.cmd.Stderr = &complaint
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	err = until(ctx, 30*time.Second, func() bool { return answers(ctx, "http://"+health) })
	if err != nil {
		return nil, fmt.Errorf("the collector is not ready: %w: %s", errors.Join(err, w.end()), complaint.String())
	}
	w.up = time.Now()
	return w, nil
}

// checkTCPLife comes before the first measurement, of which there are many.
func checkTCPLife() error {
	if _, err := exec.LookPath(tcplife.command[0]); err != nil {
		return fmt.Errorf("%w: apt-get install libbpf-tools", err)
	}
	if _, err := os.Stat("/sys/kernel/tracing/events/sock/inet_sock_set_state"); err != nil {
		return fmt.Errorf("tcplife finds its tracepoint in tracefs: %w: mount -t tracefs tracefs /sys/kernel/tracing", err)
	}
	return nil
}

// attached waits until a program of tcplife is on the tracepoint.
func attached(ctx context.Context, name string) error {
	err := until(ctx, 10*time.Second, func() bool {
		for program := range programs() {
			if theirs(program) {
				return true
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("%s does not watch: %w", name, err)
	}
	return nil
}

// end stops the arm, and returns when nothing of it is left.
func (w *watcher) end() error {
	if w.cmd == nil || w.cmd.Process == nil {
		return nil
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = w.cmd.Wait() // tcplife says that it was interrupted
	w.cmd = nil
	return nil
}

// cpu is what the process used, user and kernel, in all its threads.
func (w *watcher) cpu() time.Duration {
	var sum int64
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", w.cmd.Process.Pid))
	for _, thread := range threads {
		text, err := os.ReadFile(thread) // #nosec G304 -- the kernel's
		if err != nil {
			continue // a thread that ended
		}
		n, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		sum += n
	}
	return time.Duration(sum)
}

// memory gives a figure of the process's status in bytes: VmRSS, VmHWM, RssAnon.
func (w *watcher) memory(field string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024
		}
	}
	return 0
}

// identityFile names the client and the servers, each with a service of its own.
func identityFile() string {
	var s strings.Builder
	s.WriteString("workloads:\n")
	workload := func(name, address, services string) {
		fmt.Fprintf(&s, "  - {uid: Kubernetes//Pod/bench/%s-0, name: %s-0, namespace: bench, addresses: [%s], workload_name: %s, "+
			"canonical_name: %s, canonical_revision: v1, service_account: %s, trust_domain: cluster.local, cluster_id: Kubernetes%s}\n",
			name, name, address, name, name, name, services)
	}
	workload("client", clientAddress, "")
	for i := range serverAddresses {
		name := fmt.Sprintf("server-%d", i)
		workload(name, nth(i), fmt.Sprintf(", services: {bench/%s.bench.svc.cluster.local: [{service_port: 80, target_port: 7000}]}", name))
	}
	workload("local", "127.0.0.1", "")
	s.WriteString("services:\n")
	for i := range serverAddresses {
		fmt.Fprintf(&s, "  - {name: server-%d, namespace: bench, hostname: server-%d.bench.svc.cluster.local, addresses: [10.96.1.%d], ports: [{service_port: 80, target_port: 7000}]}\n", i, i, 1+i)
	}
	return s.String()
}

// until waits for a condition.
func until(ctx context.Context, within time.Duration, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func freePort() (string, error) {
	port, err := testhost.Port()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}
