// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// patience bounds one connection of an application, retransmits and a busy machine included.
const patience = time.Minute

// count is what the applications of one side counted; bytes are those that write(2) took and read(2) gave.
type count struct{ connections, sent, received atomic.Int64 }

// tally is what the applications of both sides counted.
type tally struct{ client, server count }

// serve listens in the host until the test ends. For each connection it reads the request to its end, answers with as
// many bytes as answer says for a request of that size, and closes.
func serve(t testing.TB, host *testhost.Host, address string, answer func(int64) int64, c *count) {
	t.Helper()
	listener := listen(t, host, address)
	var running sync.WaitGroup
	running.Go(func() { accept(t, &running, listener, answer, func(net.Addr) *count { return c }) })
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
}

func listen(t testing.TB, host *testhost.Host, address string) (listener net.Listener) {
	t.Helper()
	var err error
	host.Do(func() { listener, err = net.Listen("tcp", address) })
	require.NoError(t, err, "listen in the test host")
	return listener
}

// accept serves until the listener is closed, each connection by a goroutine of running; by returns where to count it.
func accept(t testing.TB, running *sync.WaitGroup, listener net.Listener, answer func(int64) int64, by func(from net.Addr) *count) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Errorf("accept at %s: %v", listener.Addr(), err)
			return
		}
		running.Go(func() {
			if err := serveOne(conn, answer, by(conn.RemoteAddr())); err != nil {
				t.Errorf("the server at %s: %v", listener.Addr(), err)
			}
		})
	}
}

func serveOne(conn net.Conn, answer func(int64) int64, c *count) error {
	defer func() { _ = conn.Close() }()
	c.connections.Add(1)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	received, err := io.Copy(io.Discard, conn)
	c.received.Add(received)
	if err != nil {
		return err
	}
	sent, err := write(conn, answer(received))
	c.sent.Add(sent)
	return err
}

// dial connects from the host. The socket stays the host's.
func dial(host *testhost.Host, address string) (conn *net.TCPConn, err error) {
	host.Do(func() { conn, err = connect(address) })
	return conn, err
}

// connect makes a socket in the namespace of the calling thread.
func connect(address string) (*net.TCPConn, error) { return connectFrom("", address) }

// connectFrom is connect from one of the host's addresses; empty: any.
func connectFrom(from, address string) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: patience}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), conn.SetDeadline(time.Now().Add(patience))
}

// request sends size bytes and their end, and reads the answer to its end; want is how long that must be.
func request(conn *net.TCPConn, size, want int64, c *count) error {
	c.connections.Add(1)
	sent, err := write(conn, size)
	c.sent.Add(sent)
	if err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	received, err := io.Copy(io.Discard, conn)
	c.received.Add(received)
	if err == nil && received != want {
		err = fmt.Errorf("%d bytes of %d were answered to a request of %d", received, want, size)
	}
	return err
}

func write(conn net.Conn, size int64) (int64, error) {
	return io.CopyN(conn, zeros{}, size)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// job is one connection to be made.
type job struct {
	address string
	size    int64 // of the request
}

// drive makes the connections, so many at a time, from the host, and returns when jobs is closed and done.
func drive(t testing.TB, host *testhost.Host, workers int, jobs <-chan job, answer func(int64) int64, c *count) {
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			host.Do(func() {
				for j := range jobs {
					if err := one(j, answer, c); err != nil {
						t.Errorf("the client of %s: %v", j.address, err)
					}
				}
			})
		})
	}
	running.Wait()
}

func one(j job, answer func(int64) int64, c *count) error {
	conn, err := connect(j.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return request(conn, j.size, answer(j.size), c)
}

const seed = 20_240_611 // any: the sizes are the same in every run

// mixedSize gives a size from nothing to 4 MB that is always the same for n: most are small, and one in fifty is large.
func mixedSize(n uint64) int64 {
	r := rand.New(rand.NewPCG(seed, n))
	switch class := r.IntN(100); {
	case class < 15:
		return 0
	case class < 50:
		return 1 + r.Int64N(1<<10)
	case class < 85:
		return 1 + r.Int64N(64<<10)
	case class < 98:
		return 1 + r.Int64N(512<<10)
	default:
		return 1 + r.Int64N(4<<20)
	}
}

// mixedAnswer is a size for the other direction, as mixed.
func mixedAnswer(size int64) int64 { return mixedSize(uint64(size) ^ 1<<63) }
