// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// load is the compiled generators.
type load struct{ folder string }

func compile(ctx context.Context, folder string) (*load, error) {
	for _, name := range []string{"serve", "connect", "transact", "stream", "hold"} {
		cmd := exec.CommandContext(ctx, "cc", "-O2", "-Wall", "-Wextra", "-Werror", // #nosec G204 -- our own words
			"-o", filepath.Join(folder, name), filepath.Join("test", "bench", "load", name+".c"))
		out, err := cmd.CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("cc is missing, which compiles the load generators: apt-get install gcc libc6-dev")
		}
		if err != nil {
			return nil, fmt.Errorf("compile %s: %w: %s", name, err, out)
		}
	}
	return &load{folder: folder}, nil
}

// core is the one that client and server share: what the programs cost there shows as connections that are not made.
// The collector may use it too, if the scheduler wants that.
const (
	core     = "1"
	freeCore = "0"
)

func (l *load) command(ctx context.Context, host, program string, args ...string) *exec.Cmd {
	words := append([]string{"netns", "exec", host, "taskset", "-c", core, filepath.Join(l.folder, program)}, args...)
	cmd := exec.CommandContext(ctx, "ip", words...) // #nosec G204 -- our own words
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// server is a load's other side.
type server struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// serve starts a program, and returns when it says that it is ready.
func (l *load) serve(ctx context.Context, host, program string, args ...string) (*server, error) {
	s := &server{cmd: l.command(ctx, host, program, args...)}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	var complaint strings.Builder
	s.cmd.Stderr = &complaint
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.out = bufio.NewScanner(out)
	if !s.out.Scan() || s.out.Text() != "ready" {
		s.stop()
		return nil, fmt.Errorf("%s is not ready: %s", program, complaint.String())
	}
	return s, nil
}

func (s *server) stop() {
	_ = s.in.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed, as it was to be
}

// say gives the program a line, and waits for its answer.
func (s *server) say(line string) error {
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		return err
	}
	if !s.out.Scan() {
		return fmt.Errorf("no answer: %w", errors.Join(s.out.Err(), io.ErrUnexpectedEOF))
	}
	return nil
}

// numbers runs a client to its end and gives what it printed.
func (l *load) numbers(ctx context.Context, host, program string, args ...string) ([]float64, error) {
	cmd := l.command(ctx, host, program, args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, complaint.String())
	}
	var all []float64
	for _, word := range strings.Fields(string(out)) {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, fmt.Errorf("%s printed %q: %w", program, out, err)
		}
		all = append(all, n)
	}
	return all, nil
}

// connected is what a run of connect measured.
type connected struct {
	connections float64
	rate        float64 // connections/s
	median, p99 time.Duration
}

// connect makes connections for the time d; rate 0: as many as can be.
func (b *bench) connect(ctx context.Context, p path, d time.Duration, rate, addresses int) (connected, error) {
	n, err := b.load.numbers(ctx, p.client, "connect", p.address, p.port,
		fmt.Sprint(d.Seconds()), strconv.Itoa(rate), strconv.Itoa(addresses))
	if err != nil {
		return connected{}, err
	}
	if len(n) != 4 {
		return connected{}, fmt.Errorf("connect printed %d numbers, not 4", len(n))
	}
	return connected{n[0], n[0] / n[1] * 1e9, time.Duration(n[2]), time.Duration(n[3])}, nil
}

// path is a way from a client to a server.
type path struct {
	name           string
	client, server string // namespaces
	address, port  string
}

func (b *bench) veth(port string) path {
	return path{"veth", b.hosts.client, b.hosts.server, serverAddress, port}
}

func (b *bench) loopback(port string) path {
	return path{"loopback", b.hosts.server, b.hosts.server, "127.0.0.1", port}
}
