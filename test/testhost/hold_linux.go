// SPDX-License-Identifier: Apache-2.0

package testhost

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
)

// Holder is a process that keeps connections open: a process has not file descriptors enough for both ends of many.
type Holder struct {
	t     testing.TB
	stdin io.Writer
	lines *bufio.Reader
}

// Keep starts a process in the host that accepts connections, and closes each after its peer did, until the test ends.
func (h *Host) Keep(address string) { h.talk("", "keep "+address) }

// Hold starts a process in the host that opens connections to address, which end with the test.
func (h *Host) Hold(address string) *Holder { return h.talk("", "hold "+address) }

// Open opens n more connections, and returns when they are established.
func (o *Holder) Open(n int) { o.t.Helper(); o.do("open", n) }

// Close closes n of them, the oldest first.
func (o *Holder) Close(n int) { o.t.Helper(); o.do("close", n) }

func (o *Holder) do(what string, n int) {
	o.t.Helper()
	if _, err := fmt.Fprintln(o.stdin, what, n); err != nil {
		o.t.Fatal(err)
	}
	if line, err := o.lines.ReadString('\n'); err != nil || line != "ready\n" {
		o.t.Fatalf("%s %d: %q, %v", what, n, line, err)
	}
}

// talk starts a process of BeTraffic, and returns when it is ready.
func (h *Host) talk(cgroup, what string) *Holder {
	h.t.Helper()
	cmd := h.process(cgroup, what)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	h.start(cmd)
	h.t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			h.t.Errorf("%s: %v", what, err)
		}
	})
	o := &Holder{t: h.t, stdin: stdin, lines: bufio.NewReader(stdout)}
	if line, err := o.lines.ReadString('\n'); err != nil || line != "ready\n" {
		h.t.Fatalf("%s is not ready: %q, %v", what, line, err)
	}
	return o
}

// keep accepts connections until the standard input ends.
func keep(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
	}
}

// hold opens and closes connections as the lines of the standard input say, until that ends.
func hold(address string) error {
	var open []net.Conn
	fmt.Println("ready")
	for {
		var what string
		var n int
		if _, err := fmt.Scanln(&what, &n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch {
		case what == "open":
			for range n {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					return err
				}
				open = append(open, conn)
			}
		case n > len(open):
			return fmt.Errorf("%s %d, and %d are open", what, n, len(open))
		default:
			for _, conn := range open[:n] {
				if err := conn.Close(); err != nil {
					return err
				}
			}
			open = open[n:]
		}
		fmt.Println("ready")
	}
}
