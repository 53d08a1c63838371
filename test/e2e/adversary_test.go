// SPDX-License-Identifier: Apache-2.0

//go:build e2e && soak

package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	nobodyID = 65534

	failedConnectsPerSecond = 400
	// The workloads whose sums are compared: what it sends as them must not show there.
	forgedClient, forgedServer = "10.244.7.10", "10.244.7.11"
)

// startAdversary runs this test binary as the user nobody, with a user and a network namespace of its own, as any user of a host
// can. It ends with the test.
func startAdversary(t *testing.T) {
	t.Helper()
	folder, err := os.MkdirTemp("", "kmesh-adversary-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	require.NoError(t, os.Chmod(folder, 0o755))
	own, err := os.Executable()
	require.NoError(t, err)
	binary := filepath.Join(folder, "adversary")
	require.NoError(t, exec.Command("cp", own, binary).Run())
	require.NoError(t, os.Chmod(binary, 0o755))

	cmd := exec.Command(binary, "-test.run", "^TestAdversary$", "-test.timeout", "0")
	cmd.Env = append(os.Environ(), adversaryVariable+"=1")
	cmd.Dir = folder
	input, err := cmd.StdinPipe() // it ends when this process is gone, too
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobodyID, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: id, GidMappings: id,
		Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
	}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = input.Close()
		require.NoError(t, cmd.Wait(), "the adversary did not run to the end")
	})
}

// TestAdversary is the adversary's main function. It fails connects that never leave the host, under a new process name
// each, and has the addresses of workloads on its loopback device, over which it sends.
func TestAdversary(t *testing.T) {
	if os.Getenv(adversaryVariable) == "" {
		t.Skip("TestSoak starts it")
	}
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	runtime.LockOSThread() // its name is the thread's
	listener := forgedListener(t)
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(connection, io.LimitReader(connection, 1000))
			_ = connection.Close()
		}
	}()
	ticker := time.NewTicker(time.Second / failedConnectsPerSecond)
	defer ticker.Stop()
	for n := 0; !over.Load(); n++ {
		<-ticker.C
		name := append([]byte{'x', byte('a' + n%26), byte('a' + n/26%26), byte('a' + n/676%26), byte('a' + n/17576%26)}, 0)
		require.NoError(t, unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0))
		_, err := net.DialTimeout("tcp4", "192.0.2.1:80", time.Second)
		require.Error(t, err, "there is no route")
		if n%10 == 0 {
			forge(t, listener.Addr().String())
		}
	}
}

// forgedListener takes the workloads' addresses and listens at the server's.
func forgedListener(t *testing.T) net.Listener {
	t.Helper()
	for _, change := range []string{"link set lo up", "addr add " + forgedClient + "/32 dev lo", "addr add " + forgedServer + "/32 dev lo"} {
		out, err := exec.Command("ip", strings.Fields(change)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", change, out)
	}
	listener, err := net.Listen("tcp4", forgedServer+":8080")
	require.NoError(t, err)
	return listener
}

// forge sends 1,000 bytes as the one workload to the other, and gets them back.
func forge(t *testing.T, to string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(forgedClient)}}
	connection, err := dialer.Dial("tcp4", to)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_, err = connection.Write(make([]byte, 1000))
	require.NoError(t, err)
	_, err = io.ReadFull(connection, make([]byte, 1000))
	require.NoError(t, err)
}

// moody passes requests on to a server, and refuses every second one.
func moody(t *testing.T, server string, turn time.Duration) (address string, refused *atomic.Int64) {
	t.Helper()
	target, err := url.Parse(server)
	require.NoError(t, err)
	to, began := httputil.NewSingleHostReverseProxy(target), time.Now()
	refused = new(atomic.Int64)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if time.Since(began)/turn%2 == 1 {
			refused.Add(1)
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, refused
}
