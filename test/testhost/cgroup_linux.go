// SPDX-License-Identifier: Apache-2.0

package testhost

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Cgroups is a folder of cgroup v2 for the processes of one test.
type Cgroups struct {
	t    testing.TB
	path string
}

// NewCgroups makes a folder in a mounted hierarchy.  When the test ends it is gone, with what is left in it.
func NewCgroups(t testing.TB, mount string) *Cgroups {
	t.Helper()
	RequireRoot(t)
	c := &Cgroups{t: t, path: filepath.Join(mount, fmt.Sprintf("kmesh-test-%d-%d", os.Getpid(), networks.Add(1)))}
	if err := os.Mkdir(c.path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fell(c.path); err != nil {
			t.Errorf("remove the cgroup %s: %v", c.path, err)
		}
	})
	return c
}

// Make gives the folder of a cgroup; it makes those that are missing on the way.
func (c *Cgroups) Make(path string) string {
	c.t.Helper()
	folder := filepath.Join(c.path, path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		c.t.Fatal(err)
	}
	return folder
}

// fell removes folders from the leaves on: the files in them are the kernel's.
func fell(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := fell(filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(folder)
}

// traffic names the environment's variable that makes a test's program a process of BeTraffic.
const traffic = "KMESH_TEST_TRAFFIC"

// BeTraffic is called by the init function of a test's package: if the program was started by Serve, Dial, Keep, Hold or Sidecar it
// does what they want, and ends.
func BeTraffic() {
	what, address, ok := strings.Cut(os.Getenv(traffic), " ")
	if !ok {
		return
	}
	var err error
	switch what {
	case "serve":
		err = serve(address)
	case "keep":
		err = keep(address)
	case "hold":
		err = hold(address)
	case "relay":
		err = relay()
	default:
		err = dialOnce(address)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, what, address, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Serve starts a process in the host and the cgroup (empty: the test's own) that answers to connections with 5 bytes,
// until the test ends.
func (h *Host) Serve(cgroup, address string) {
	h.t.Helper()
	h.talk(cgroup, "serve "+address)
}

// Dial runs a process in the host and the cgroup (empty: the test's own) that makes one connection, sends 3 bytes and
// reads the answer.
func (h *Host) Dial(cgroup, address string) {
	h.t.Helper()
	cmd := h.process(cgroup, "dial "+address)
	h.start(cmd)
	if err := cmd.Wait(); err != nil {
		h.t.Fatalf("the client of %s: %v", address, err)
	}
}

func (h *Host) process(cgroup, what string) *exec.Cmd {
	h.t.Helper()
	cmd := h.Command(os.Args[0])
	cmd.Env = append(os.Environ(), traffic+"="+what)
	cmd.Stderr = os.Stderr
	if cgroup != "" {
		folder, err := os.Open(cgroup)
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _ = folder.Close() })
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(folder.Fd())}
	}
	return cmd
}

func (h *Host) start(cmd *exec.Cmd) {
	h.t.Helper()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
}

func serve(address string) error {
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
		_, _ = io.Copy(io.Discard, conn)
		_, _ = conn.Write([]byte("hello"))
		_ = conn.Close()
	}
}

func dialOnce(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("hey")); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}
